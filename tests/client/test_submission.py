"""Do jobs become durable requests, and does the requester learn what became of them?"""

from __future__ import annotations

import pytest

from client.builders import a_job_id, a_spec
from client.mesh import FakeJob, FakeMesh
from penstock_client import submission
from penstock_client.client import Client
from penstock_client.failures import Refused, Unavailable
from penstock_client.submission import pack
from penstock_contracts.errors import Refusal
from penstock_contracts.jobs import JOBS_PER_REQUEST_MAX, REQUEST_BYTES_MAX


async def test_an_accepted_job_is_told_so(mesh: FakeMesh, client: Client) -> None:
    spec = a_spec()
    done = await client.submit([spec], "acme")
    assert (done.accepted, done.rejected, done.refused, done.pending) == (
        (spec.job_id,),
        {},
        {},
        (),
    )
    assert mesh.jobs[spec.job_id].spec == spec


async def test_a_refused_job_does_not_take_the_others_with_it(
    mesh: FakeMesh, client: Client
) -> None:
    refusal = Refusal("job_id_conflict", "used before")
    specs = [a_spec(), a_spec(name="bad"), a_spec()]
    mesh.refuse = lambda spec: refusal if spec.name == "bad" else None
    done = await client.submit(specs, "acme")
    assert done.refused == {specs[1].job_id: refusal}
    assert done.accepted == (specs[0].job_id, specs[2].job_id)
    assert done.job_ids == [spec.job_id for spec in specs]


async def test_an_impossible_job_is_told_as_rejected(mesh: FakeMesh, client: Client) -> None:
    async def reject(job: FakeJob) -> None:
        await job.fact("submitted")
        await job.fact("rejected", reason="impossible", message="17 GPUs of 16")

    mesh.script = reject
    spec = a_spec(gpus=17)
    done = await client.submit([spec], "acme")
    assert done.rejected == {spec.job_id: Refusal("impossible", "17 GPUs of 16")}
    assert done.accepted == ()


async def test_without_a_scheduler_the_job_is_stored_and_pending(
    mesh: FakeMesh, client: Client
) -> None:
    async def silent(job: FakeJob) -> None:
        pass

    mesh.script = silent
    spec = a_spec()
    done = await client.submit([spec], "acme", confirm_s=0.05)
    assert (done.pending, done.accepted) == ((spec.job_id,), ())
    assert done.requests[0].seq == 1


async def test_a_repeat_finds_the_earlier_answer_in_the_stream(
    mesh: FakeMesh, client: Client
) -> None:
    spec = a_spec()
    await client.submit([spec], "acme")
    again = await client.submit([spec], "acme")
    assert again.accepted == (spec.job_id,)
    assert len(mesh.jobs) == 1


async def test_many_jobs_are_packed_and_each_is_accepted_once(
    mesh: FakeMesh, client: Client
) -> None:
    specs = [a_spec(name="x" * 100) for _ in range(1500)]
    done = await client.submit(specs, "acme", confirm_s=20)
    assert sorted(done.accepted) == sorted(spec.job_id for spec in specs)
    assert len(done.requests) > 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"gpus": -1}, "invalid_field"),
        ({"ranks": 10**9}, "invalid_field"),
        ({"command": ()}, "invalid_field"),
        ({"command": ("",)}, "invalid_field"),
        ({"gpus": 2, "gpu_milli": 500}, "invalid_field"),
        ({"env": {"A B": "x"}}, "invalid_field"),
        ({"job_id": "a.b"}, "invalid_job_id"),
    ],
)
async def test_a_job_that_breaks_a_rule_is_refused_before_it_is_sent(
    mesh: FakeMesh, client: Client, changes: dict[str, object], code: str
) -> None:
    with pytest.raises(Refused) as caught:
        await client.submit([a_spec(**changes)], "acme")
    assert caught.value.refusal.code == code
    assert (await mesh.bus.stream_state("REQUESTS")).messages == 0


@pytest.mark.parametrize("tenant", ["a.b", "*", ">", "", "ü", "x" * 64, "a b"])
async def test_a_tenant_that_would_form_another_subject_is_refused(
    client: Client, tenant: str
) -> None:
    with pytest.raises(Refused) as caught:
        await client.submit([a_spec()], tenant)
    assert caught.value.refusal.code == "invalid_tenant"


async def test_without_streams_the_mesh_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submission, "STORE_S", 0.05)
    from penstock_bus import memory
    from penstock_bus.memory_broker import MemoryBroker

    client = Client(await memory.connect(MemoryBroker(lambda: 0), name="client"))
    with pytest.raises(Unavailable):
        await client.submit([a_spec()], "acme")


def test_messages_stay_under_the_limits_and_keep_the_order() -> None:
    specs = [a_spec(command=("x" * size,)) for size in (10, 30_000, 30_000, 30_000, 10)]
    messages = pack(specs)
    assert [job for _, jobs in messages for job in jobs] == [spec.job_id for spec in specs]
    assert all(len(payload) <= REQUEST_BYTES_MAX for payload, _ in messages)
    small = pack([a_spec() for _ in range(JOBS_PER_REQUEST_MAX + 1)])
    assert max(len(jobs) for _, jobs in small) <= JOBS_PER_REQUEST_MAX


def test_a_job_that_alone_is_too_large_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        pack([a_spec(command=("x" * 30_000, "y" * 30_000, "z" * 30_000))])
    assert caught.value.refusal.code == "request_too_large"


async def test_cancelling_reaches_the_job_and_returns_its_end(
    mesh: FakeMesh, client: Client
) -> None:
    async def until_cancelled(job: FakeJob) -> None:
        await job.fact("submitted", "queued", "placed", "running")
        await job.cancelled.wait()
        await job.finish("cancelled")

    mesh.script = until_cancelled
    spec = a_spec()
    await client.submit([spec], "acme")
    end = await client.cancel_and_watch(spec.job_id, "acme", timeout_s=5)
    assert end is not None
    assert end.fact == "cancelled"


async def test_cancelling_what_is_not_there_is_refused(mesh: FakeMesh, client: Client) -> None:
    mesh.refuse_cancel = lambda cancel: Refusal("unknown_job", "no such job")
    with pytest.raises(Refused) as caught:
        await client.cancel_and_watch(a_job_id(), "acme", timeout_s=5)
    assert caught.value.refusal.code == "unknown_job"


async def test_cancelling_a_job_that_has_ended_is_refused(mesh: FakeMesh, client: Client) -> None:
    spec = a_spec()
    await client.submit([spec], "acme")
    async for _ in client.follow(spec.job_id, "acme"):
        pass
    with pytest.raises(Refused) as caught:
        await client.cancel_and_watch(spec.job_id, "acme", timeout_s=5)
    assert caught.value.refusal.code == "job_finished"
