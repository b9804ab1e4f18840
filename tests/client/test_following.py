"""Does a follower hear every fact once and in order, whatever is lost on the way?"""

from __future__ import annotations

import asyncio

from client.builders import a_spec
from client.mesh import FakeJob, FakeMesh, encode
from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_client.client import Client
from penstock_contracts.public import JobEvent

LIFE = ("submitted", "queued", "placed", "preparing", "running")


async def heard(client: Client, job: FakeJob, **options: tuple[int, int]) -> list[JobEvent]:
    return [e async for e in client.follow(job.spec.job_id, job.tenant, **options)]


def names(events: list[JobEvent]) -> list[str]:
    return [event.fact for event in events]


async def a_job(mesh: FakeMesh, tenant: str = "acme") -> FakeJob:
    return FakeJob(mesh, tenant, a_spec())


async def test_the_whole_past_is_told_and_then_it_ends(mesh: FakeMesh, client: Client) -> None:
    job = await a_job(mesh)
    await job.fact(*LIFE)
    await job.finish()
    assert names(await heard(client, job)) == [*LIFE, "succeeded"]


async def test_live_facts_are_told_as_they_happen(mesh: FakeMesh, client: Client) -> None:
    job = await a_job(mesh)
    got: list[str] = []

    async def follow() -> None:
        async for event in client.follow(job.spec.job_id, "acme"):
            got.append(event.fact)

    following = asyncio.ensure_future(follow())
    for number, name in enumerate(LIFE):
        await job.fact(name)
        while len(got) <= number:
            await asyncio.wait_for(asyncio.sleep(0), 5)
    await job.finish("failed", exit_code=7)
    await following
    assert got == [*LIFE, "failed"]


async def test_retries_and_losses_of_a_job_are_all_told(mesh: FakeMesh, client: Client) -> None:
    job = await a_job(mesh)
    await job.fact("submitted", "queued", "placed", "running", "lost")
    await job.fact("queued", "placed", "running", attempt=2)
    await job.finish(attempt=2)
    events = await heard(client, job)
    assert [event.attempt for event in events] == [1, 1, 1, 1, 1, 2, 2, 2, 2]


async def test_a_fact_missed_live_is_read_before_a_later_one_is_told(
    mesh: FakeMesh, client: Client
) -> None:
    job = await a_job(mesh)
    async with client.follower(job.spec.job_id, "acme", fresh=True) as follower:
        missed = follower._on_message
        await job.fact("submitted")
        follower._on_message = lambda message: None  # type: ignore[method-assign]
        assert follower._subscription is not None
        await follower._subscription.close()
        await job.fact("queued", "placed")
        follower._subscription = await mesh.bus.subscribe(job.subject("*"), missed)
        await job.fact("running")
        await job.finish()
        events = [event async for event in follower.events()]
    assert names(events) == ["submitted", "queued", "placed", "running", "succeeded"]


async def test_repeats_and_rubbish_change_nothing(mesh: FakeMesh, client: Client) -> None:
    job = await a_job(mesh)
    async with client.follower(job.spec.job_id, "acme", fresh=True) as follower:
        for name in LIFE:
            event = await job.fact(name)
            await mesh.bus.publish(job.subject(name), encode(event))
            await mesh.bus.publish(job.subject(name), b"{]")
        await job.finish()
        events = [event async for event in follower.events()]
    assert names(events) == [*LIFE, "succeeded"]


async def test_following_again_goes_on_behind_what_is_known(mesh: FakeMesh, client: Client) -> None:
    job = await a_job(mesh)
    known = await job.fact("submitted", "queued", "placed")
    await job.fact("running")
    await job.finish()
    assert names(await heard(client, job, after=(known.seq, known.index))) == [
        "running",
        "succeeded",
    ]


async def test_facts_of_another_job_are_not_told(mesh: FakeMesh, client: Client) -> None:
    mine, other = await a_job(mesh), await a_job(mesh)
    await other.fact(*LIFE)
    await mine.fact(*LIFE)
    await mine.finish()
    assert {event.job_id for event in await heard(client, mine)} == {mine.spec.job_id}


async def test_nothing_is_lost_when_the_broker_is_killed_meanwhile(
    mesh: FakeMesh, client: Client, broker: MemoryBroker, eventually: Eventually
) -> None:
    job = await a_job(mesh)
    following = asyncio.ensure_future(heard(client, job))
    await job.fact("submitted", "queued")
    broker.crash()
    broker.start()
    await eventually(lambda: mesh.bus.connected and client.bus.connected)
    await job.fact("placed", "running")
    await job.finish()
    assert names(await asyncio.wait_for(following, 15)) == [
        "submitted",
        "queued",
        "placed",
        "running",
        "succeeded",
    ]
