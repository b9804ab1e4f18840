"""Does every segment count once, whatever order, repetition or crash it meets on its way?"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.conftest import Ledger, LedgerFactory
from metering.kills import Killed, kill_at
from metering.world import World
from penstock_bus.port import StoredMessage
from penstock_contracts.journal import JobFinished
from penstock_contracts.queries import JobsQuery, UsageQuery
from penstock_contracts.usage import DeviceCounter, DeviceSlice, UsageBatch
from penstock_metering.ledger.ingest import DatabaseBusy

ALL = UsageQuery()


def a_busy_world() -> World:
    world = World()
    agents = [world.a_node(name, gpus=2) for name in ("n1", "n2")]
    for index in range(6):
        agent = agents[index % 2]
        world.a_run(agent.name, agent.devices[: 1 + index % 2], tenant=f"t{index % 3}")
        if index % 2:
            agent.send()
    world.a_run("n1", (), gpus=0, cpu_milli=500)
    for agent in agents:
        agent.send()
    return world


def comparable(ledger: Ledger) -> dict[str, Any]:
    """The ledger without the numbers of messages, which depend on how they came."""
    contents = ledger.contents()
    return {
        "lines": [(*row[:8], *row[9:]) for row in contents["ledger_lines"]],
        "raw": [(*row[:4], row[-1]) for row in contents["raw_segments"]],
        "jobs": contents["jobs"],
        "leases": contents["leases"],
        "usage": ledger.library.usage(ALL),
        "quarantine": contents["quarantine"],
    }


def reissue(messages: list[StoredMessage], order: list[int]) -> list[StoredMessage]:
    """The same contents stored again in another order, possibly several times."""
    return [
        msgspec.structs.replace(messages[index], seq=place + 1) for place, index in enumerate(order)
    ]


@pytest.mark.lesson(23)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32))
def test_any_order_repetition_and_cutting_gives_the_same_ledger(
    make_ledger: LedgerFactory, seed: int
) -> None:
    chance = random.Random(seed)
    world = a_busy_world()
    plain = make_ledger()
    plain.take_all(world)
    usage = world.streams["USAGE"]
    order = list(range(len(usage))) * chance.randint(1, 3)
    chance.shuffle(order)
    stirred = world.streams | {"USAGE": reissue(usage, order)}
    other = make_ledger()
    done = dict.fromkeys(stirred, 0)
    while any(done[name] < len(messages) for name, messages in stirred.items()):
        name = chance.choice(sorted(stirred))
        first = max(0, done[name] - chance.randint(0, 2))  # redelivered
        done[name] = min(len(stirred[name]), done[name] + chance.randint(1, 9))
        other.take({name: stirred[name][first : done[name]]})
    assert comparable(other) == comparable(plain)
    assert other.balance(world).unaccounted_milli_ms == 0


@pytest.mark.lesson(21)
def test_a_kill_between_any_two_statements_loses_and_doubles_nothing(
    make_ledger: LedgerFactory,
) -> None:
    world = a_busy_world()
    half = {name: messages[: len(messages) // 2] for name, messages in world.streams.items()}
    whole = make_ledger()
    whole.take(half)
    before_it = whole.ingest.cursors.copy()
    whole.take_all(world)
    expected = whole.contents()
    statement, killed = 0, True
    while killed:
        statement += 1
        ledger = make_ledger()
        ledger.take(half)
        disarm = kill_at(ledger, statement)
        try:
            ledger.take_all(world)
            killed = False
        except Killed:
            pass  # what its frames hold is let go before the ledger is opened again
        if killed:
            disarm()
            ledger.reopen()
            assert ledger.ingest.cursors in (before_it, whole.ingest.cursors)  # or: as it was rated
            ledger.take_all(world)
        assert ledger.contents() == expected, f"killed at statement {statement}"
        make_ledger.take_back(ledger)
    assert statement > 8  # begin, five tables or more, cursors, commit


@pytest.mark.lesson(21)
@pytest.mark.parametrize("moment", ["begin", "before_cursor_execute", "commit"])
def test_a_database_that_fails_for_a_while_counts_everything_once(
    ledger: Ledger, make_ledger: LedgerFactory, moment: str
) -> None:
    world = a_busy_world()
    plain = make_ledger()
    plain.take_all(world)

    def fail(*_: Any) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("disk is full"))

    sa.event.listen(ledger.database.writing, moment, fail)
    for _ in range(3):
        with pytest.raises(DatabaseBusy):
            ledger.take_all(world)
    sa.event.remove(ledger.database.writing, moment, fail)
    ledger.take_all(world)
    assert ledger.contents() == plain.contents()


@pytest.mark.lesson(23)
def test_the_same_id_with_other_content_is_quarantined_and_changes_nothing(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    seq = agent.send()
    ledger.take_all(world)
    before = ledger.library.usage(ALL)
    said = msgspec.json.decode(world.streams["USAGE"][seq - 1].payload, type=UsageBatch)
    longer = msgspec.structs.replace(said.segments[0], t1_ms=said.segments[0].t1_ms + 60_000)
    forged = msgspec.structs.replace(said, batch=9, segments=(longer,), counters=())
    world.store("USAGE", "penstock.v1.usage.n1", forged)
    ledger.take_all(world)
    assert ledger.library.usage(ALL) == before
    assert [finding.code for finding in ledger.library.findings()] == ["quarantined"]
    assert ledger.ingest.totals.quarantined == 1


def test_contradicting_twins_in_one_batch_keep_the_first(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices, for_ms=1_000)
    segment = agent.owed[0]
    agent.owed += [segment, msgspec.structs.replace(segment, t1_ms=segment.t0_ms)]
    agent.send()
    ledger.take_all(world)
    assert ledger.ingest.totals.repeated == 1
    assert ledger.ingest.totals.quarantined == 1
    assert ledger.library.usage(ALL).lines[0].quantity == 1_000_000


@pytest.mark.parametrize(
    ("subject", "payload"),
    [
        ("penstock.v1.usage.n1", b"\xff{"),
        ("penstock.v1.usage.n1", b'{"node":"n1","boot_id":"b","batch":-1}'),
        ("penstock.v1.usage.n1", b'{"node":"n1","boot_id":"a\\u0000b","batch":1}'),
        ("penstock.v1.usage.other", b'{"node":"n1","boot_id":"b","batch":1}'),
        (
            "penstock.v1.usage.n1",
            b'{"node":"n1","boot_id":"b","batch":1,"counters":[["u",0,9,123456789012345678901]]}',
        ),
    ],
)
def test_nonsense_is_kept_aside_and_what_follows_counts(
    ledger: Ledger, world: World, subject: str, payload: bytes
) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    world.store("USAGE", subject, payload)
    agent.send()
    ledger.take_all(world)
    assert ledger.balance(world).unaccounted_ms == 0
    assert len(ledger.library.usage(ALL).lines) == 1
    assert [finding.code for finding in ledger.library.findings()] == ["quarantined"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"counters": (DeviceCounter("SIM-n1-0", 5, 4, 0),)},
        {"slices": (DeviceSlice(uuid="SIM-n1-0", seq=0, t0_ms=4, t1_ms=4),)},
        {"slices": (DeviceSlice(uuid="SIM-n1-0", seq=(1 << 62) + 1, t0_ms=4, t1_ms=5),)},
    ],
)
def test_what_cannot_be_in_a_message_costs_no_segment_beside_it(
    ledger: Ledger, world: World, wrong: dict[str, Any]
) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    seq = agent.send()
    said = msgspec.json.decode(world.streams["USAGE"][seq - 1].payload, type=UsageBatch)
    world.replace("USAGE", seq, msgspec.structs.replace(said, **wrong))
    ledger.take_all(world)
    assert ledger.library.usage(ALL).lines[0].quantity == 1_000_000
    assert [finding.code for finding in ledger.library.findings()] == ["quarantined"]


def test_an_unreadable_entry_is_skipped_and_found(ledger: Ledger, world: World) -> None:
    world.store("JOBS", "penstock.v1.journal.jobs", b"rubbish")
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    ledger.take_all(world)
    assert [finding.code for finding in ledger.library.findings()] == ["unreadable_entry"]
    assert len(ledger.library.jobs(JobsQuery()).jobs) == 1


def test_a_job_that_ends_twice_is_found(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.a_run("n1", agent.devices)
    ledger.take_all(world)
    world.journal("JOBS", JobFinished(job_id=job.job_id, attempt=1, state="failed"))
    ledger.take_all(world)
    assert [finding.code for finding in ledger.library.findings()] == ["fact_after_the_end"]
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert view.state == "succeeded"


def test_what_is_said_of_a_rank_after_its_release_is_no_fault(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(100)
    world.fence(job)
    ledger.take_all(world)
    world.exit(job)  # its agent comes back
    world.release(job)
    agent.send()
    ledger.take_all(world)
    assert ledger.library.findings() == []
    assert ledger.balance(world).findings == []
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert (view.state, view.ranks[0].reason, view.gpu_milli_ms) == ("failed", "lost", 100_000)


def test_a_job_id_accepted_twice_is_found_and_the_first_story_stays(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    job = world.a_run("n1", agent.devices)
    ledger.take_all(world)
    world.repeat_entry(1)
    ledger.take_all(world)
    assert {finding.code for finding in ledger.library.findings()} == {"job_accepted_twice"}
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert view.state == "succeeded"


def test_a_past_that_was_purged_is_a_counted_gap(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    later = world.a_run("n1", agent.devices)
    first_of_later = next(
        message.seq for message in world.streams["JOBS"] if later.job_id.encode() in message.payload
    )
    agent.send()
    ledger.take(world.streams | {"JOBS": world.streams["JOBS"][first_of_later - 1 :]})
    assert ledger.ingest.totals.gaps == 1
    assert [job.job_id for job in ledger.library.jobs(JobsQuery()).jobs] == [later.job_id]


def test_live_jobs_and_open_leases_go_on_after_a_restart(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    ledger.take_all(world)
    ledger.reopen()
    assert (ledger.ingest.history.live_jobs, ledger.ingest.history.open_leases) == (1, 1)
    world.start(job)
    world.pass_ms(100)
    world.exit(job, code=3)
    world.release(job)
    world.finish(job, "failed", 3)
    agent.send()
    ledger.take_all(world)
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert (view.state, view.exit_code, view.gpu_milli_ms) == ("failed", 3, 100_000)
    assert (ledger.ingest.history.live_jobs, ledger.ingest.history.open_leases) == (0, 0)
