"""Can jobs be submitted, seen, explained and cancelled over HTTP?"""

from __future__ import annotations

import msgspec
import pytest

from client.builders import a_job_id, a_view
from client.mesh import FakeJob, FakeMesh
from gateway.conftest import Api
from penstock_contracts.errors import Refusal
from penstock_contracts.explanations import Explanation
from penstock_contracts.ids import is_ulid
from penstock_contracts.queries import JobsView


async def test_a_job_without_id_gets_one_and_is_accepted(mesh: FakeMesh, api: Api) -> None:
    done = await api("POST", "/v1/jobs?tenant=acme", json={"command": ["true"], "gpus": 1})
    assert done.status == 202
    (job,) = done.body["jobs"]
    assert job["state"] == "accepted"
    assert is_ulid(job["job_id"])
    assert mesh.jobs[job["job_id"]].tenant == "acme"
    assert mesh.jobs[job["job_id"]].spec.gpus == 1


async def test_many_jobs_are_answered_in_order_whatever_their_tenants(
    mesh: FakeMesh, api: Api
) -> None:
    mesh.refuse = lambda spec: Refusal("job_id_conflict", "x") if spec.name == "bad" else None
    ids = [a_job_id() for _ in range(4)]
    jobs = [
        {"job_id": ids[0], "command": ["true"]},
        {"job_id": ids[1], "command": ["true"], "tenant": "other"},
        {"job_id": ids[2], "command": ["true"], "name": "bad"},
        {"job_id": ids[3], "command": ["true"]},
    ]
    done = await api("POST", "/v1/jobs", json={"jobs": jobs, "tenant": "acme"})
    assert done.status == 202
    assert [job["job_id"] for job in done.body["jobs"]] == ids
    states = [job["state"] for job in done.body["jobs"]]
    assert states == ["accepted", "accepted", "refused", "accepted"]
    assert done.body["jobs"][2]["refusal"]["code"] == "job_id_conflict"
    assert mesh.jobs[ids[1]].tenant == "other"
    assert mesh.jobs[ids[3]].tenant == "acme"


async def test_repeating_a_request_is_the_same_job(mesh: FakeMesh, api: Api) -> None:
    job = {"job_id": a_job_id(), "command": ["true"]}
    first = await api("POST", "/v1/jobs", json=job)
    again = await api("POST", "/v1/jobs", json=job)
    assert first == again
    assert len(mesh.jobs) == 1


@pytest.mark.parametrize(
    ("code", "status"), [("job_id_conflict", 409), ("backlog_full", 429), ("job_id_too_old", 400)]
)
async def test_the_refusal_of_a_single_job_is_the_answer(
    mesh: FakeMesh, api: Api, code: str, status: int
) -> None:
    mesh.refuse = lambda spec: Refusal(code, "a sentence")
    done = await api("POST", "/v1/jobs", json={"command": ["true"]})
    assert (done.status, done.code) == (status, code)


async def test_a_job_says_over_http_what_it_asks_of_its_places(mesh: FakeMesh, api: Api) -> None:
    asks = {
        "gpus": 2,
        "alternatives": [{"gpus": 4, "gpu_models": ["A100"], "speed_milli": 600}],
        "near": "rack",
        "near_required": True,
        "node_labels": {"zone": "a"},
        "apart": "db",
    }
    done = await api("POST", "/v1/jobs", json={"command": ["true"], **asks})
    assert done.status == 202, done.body
    (job,) = mesh.jobs.values()
    fields = msgspec.json.decode(msgspec.json.encode(job.spec))
    assert {name: fields[name] for name in asks} == asks
    wrong = await api("POST", "/v1/jobs", json={"command": ["true"], "near_required": True})
    assert (wrong.status, wrong.code) == (400, "contradiction")


async def test_an_impossible_job_is_unprocessable(mesh: FakeMesh, api: Api) -> None:
    async def reject(job: FakeJob) -> None:
        await job.fact("submitted")
        await job.fact("rejected", reason="impossible", message="16 GPUs in all")

    mesh.script = reject
    done = await api("POST", "/v1/jobs", json={"command": ["true"], "gpus": 17})
    assert (done.status, done.code) == (422, "impossible")


async def test_jobs_of_both_services_are_listed_once_each(mesh: FakeMesh, api: Api) -> None:
    live, ended = a_view(), a_view(state="succeeded", exit_code=0)
    await mesh.answer("query.scheduler.jobs", JobsView((live,)))
    await mesh.answer("query.metering.jobs", JobsView((ended,)))
    done = await api("GET", "/v1/jobs?tenant=acme&limit=5")
    assert [job["job_id"] for job in done.body["jobs"]] == [ended.job_id, live.job_id]
    assert mesh.asked[0][1] == b'{"tenant":"acme","limit":5}'


async def test_a_job_is_shown_from_where_it_is_known(mesh: FakeMesh, api: Api) -> None:
    ended = a_view(state="failed", exit_code=3)
    await mesh.answer("query.scheduler.job", Refusal("job_finished", "ask metering"))
    answers = iter([Refusal("unknown_job", "not yet"), ended])
    await mesh.answer("query.metering.job", lambda _: next(answers))
    done = await api("GET", f"/v1/jobs/{ended.job_id}")
    assert (done.status, done.body["state"], done.body["exit_code"]) == (200, "failed", 3)


async def test_an_unknown_job_is_not_found(mesh: FakeMesh, api: Api) -> None:
    for service in ("scheduler", "metering"):
        await mesh.answer(f"query.{service}.job", Refusal("unknown_job", "no such job"))
    for path in ("", "/events", "/logs"):
        done = await api("GET", f"/v1/jobs/{a_job_id()}{path}")
        assert (done.status, done.code) == (404, "unknown_job")


async def test_a_job_is_explained(mesh: FakeMesh, api: Api) -> None:
    why = Explanation(
        job_id=a_job_id(), state="queued", code="waiting_for_devices", sentence="4 of 8 are free."
    )
    await mesh.answer("query.scheduler.explain", why)
    done = await api("GET", f"/v1/jobs/{why.job_id}/explain")
    assert done.body["sentence"] == "4 of 8 are free."


async def test_a_job_is_cancelled(mesh: FakeMesh, api: Api) -> None:
    async def until_cancelled(job: FakeJob) -> None:
        await job.fact("submitted", "queued")
        await job.cancelled.wait()
        await job.finish("cancelled")

    mesh.script = until_cancelled
    job = (await api("POST", "/v1/jobs", json={"command": ["true"]})).body["jobs"][0]
    done = await api("DELETE", f"/v1/jobs/{job['job_id']}")
    assert (done.status, done.body["state"]) == (202, "cancelled")
    again = await api("DELETE", f"/v1/jobs/{job['job_id']}")
    assert (again.status, again.code) == (409, "job_finished")


async def test_without_services_the_answer_is_503(api: Api) -> None:
    for path in ("/v1/jobs", f"/v1/jobs/{a_job_id()}", "/v1/nodes", "/v1/usage"):
        done = await api("GET", path)
        assert (done.status, done.code) == (503, "unavailable"), path
