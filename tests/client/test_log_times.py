"""Is a job's output found by the time at which it was stored?"""

from __future__ import annotations

from collections import defaultdict

import pytest

from client.builders import a_spec
from client.mesh import FakeJob, FakeMesh
from client.test_logs import Texts, collect
from penstock_client.client import Client


@pytest.fixture
def job(mesh: FakeMesh) -> FakeJob:
    return FakeJob(mesh, "acme", a_spec())


async def stored_at_ns(job: FakeJob) -> list[int]:
    """When each chunk was stored."""
    batch = await job.mesh.bus.read_many("LOGS", 1, job.log_subject("*"))
    return [message.time_ns for message in batch]


async def test_output_is_found_by_the_time_at_which_it_was_stored(
    client: Client, job: FakeJob
) -> None:
    for number in range(40):
        await job.log(b"%02d " % number)
        if number % 4 == 0:
            await job.log(b"%02d " % number, "stderr")
    at_ns = await stored_at_ns(job)
    whole = await _between(client, job, None, None)
    for first in range(0, len(at_ns), 7):
        for last in range(first, len(at_ns), 11):
            texts = await _between(client, job, at_ns[first], at_ns[last])
            assert sum(map(len, texts.values())) == 3 * sum(
                at_ns[first] <= at < at_ns[last] for at in at_ns
            )
            assert all(text in whole[name] for name, text in texts.items())
    assert await _between(client, job, at_ns[-1] + 1, None) == {}
    assert await _between(client, job, None, at_ns[0]) == {}


async def _between(
    client: Client, job: FakeJob, since_ns: int | None, until_ns: int | None
) -> Texts:
    async with client.log_reader(
        job.spec.job_id, "acme", since_ns=since_ns, until_ns=until_ns
    ) as reader:
        texts: Texts = defaultdict(bytes)
        await collect(reader.stored(), texts)
        assert reader.missing == []
        return dict(texts)


async def test_who_follows_from_a_time_on_gets_all_of_later_outputs_and_nothing_is_missing(
    client: Client, job: FakeJob
) -> None:
    await job.log(b"old", rank=1)
    await job.log(b"old")
    await job.log(b"old", "stderr")
    since_ns = (await stored_at_ns(job))[-1] + 1
    await job.log(b" between")
    async with client.log_reader(job.spec.job_id, "acme", since_ns=since_ns) as reader:
        texts: Texts = defaultdict(bytes)
        await collect(reader.stored(), texts)
        await job.log(b" live")
        await job.log(b" late", "stderr")
        await job.log(b"all", rank=2)
        reader.end(job.log_bytes)
        await collect(reader.follow(), texts)
    assert texts == {
        "1.0.stdout": b" between live",
        "1.0.stderr": b" late",
        "1.2.stdout": b"all",
    }
    assert reader.missing == []
