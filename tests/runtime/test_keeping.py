"""Do snapshots shorten a restart, and is nothing purged that somebody needs?"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from conftest import Eventually
from penstock_contracts.streams import StreamConfig
from penstock_runtime import cursors, keeping
from penstock_runtime.cursors import Follower, cursor_key, publish_cursor, read_cursors
from penstock_runtime.journal import JournalLost
from penstock_runtime.pace import Pace
from penstock_runtime.snapshots import SnapshotStore
from runtime.conftest import Connect
from runtime.tally import (
    INPUT,
    INPUT_SUBJECT,
    JOURNAL,
    Deposit,
    Running,
    a_service,
    deposit,
    prepare,
)

READERS = {JOURNAL: ("audience",), INPUT: ("tally", "other")}


@pytest.fixture(autouse=True)
def busy_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "PUBLISH_S", 0.02)


def an_owner(bus: Any, **options: Any) -> Running:
    return Running(
        a_service(
            bus,
            snapshot_every=1,
            owns=(JOURNAL, INPUT),
            readers=READERS,
            pace=Pace(tidy_s=0.02),
            **options,
        )
    )


async def with_snapshots(bus: Any, count: int, eventually: Eventually) -> Running:
    """A service that has taken so many snapshots, one a deposit."""
    running = an_owner(bus)
    await eventually(lambda: running.active)
    for number in range(count):
        await deposit(bus, f"d{number}")
        await eventually(lambda n=number: len(running.held.times) == n + 1)
        await eventually(lambda: running.service._keeper._seq == running.service.last_seq)
    return running


async def test_a_restart_starts_from_the_newest_of_two_kept_snapshots(
    connect: Connect, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await connect("a")
    running = await with_snapshots(bus, 4, eventually)
    held = running.held
    await running.end()
    assert len(await bus.object_names("SNAPSHOTS")) == 2
    found = [header async for header, _ in SnapshotStore(bus, "tally").newest_first()]
    assert found[0].seq > found[1].seq and found[0].cursors == {INPUT: 4}

    caplog.set_level("INFO")
    again = an_owner(bus)
    await eventually(lambda: again.active)
    assert again.held == held
    (record,) = [r for r in caplog.records if r.message == "recovered"]
    assert record.__dict__["snapshot_seq"] == found[0].seq
    await again.end()


@pytest.mark.parametrize("damage", [b"", b"rubbish", b'{"format":99}\n', b"cut"])
async def test_a_damaged_snapshot_leads_to_the_one_before_and_the_journal(
    connect: Connect, eventually: Eventually, damage: bytes
) -> None:
    bus = await connect("a")
    running = await with_snapshots(bus, 3, eventually)
    held = running.held
    await running.end()
    last_seq = (await bus.stream_state(JOURNAL)).last_seq
    for reader in ("audience", "other"):
        await publish_cursor(bus, JOURNAL, reader, last_seq)
    newest = (await bus.object_names("SNAPSHOTS"))[-1]
    data = await bus.object_get("SNAPSHOTS", newest)
    await bus.object_put("SNAPSHOTS", newest, data[:-1] if damage == b"cut" else damage)
    again = an_owner(bus)
    await eventually(lambda: again.active)
    assert again.held.times == held.times
    await again.end()


async def test_without_any_usable_snapshot_the_whole_journal_is_replayed(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    running = await with_snapshots(bus, 3, eventually)
    times = running.held.times
    await running.end()
    for name in await bus.object_names("SNAPSHOTS"):
        await bus.object_delete("SNAPSHOTS", name)
    again = an_owner(bus)
    await eventually(lambda: again.active)
    assert again.held.times == times
    await again.end()


async def test_a_journal_that_does_not_join_any_snapshot_is_refused(
    twin: Connect, eventually: Eventually
) -> None:
    bus = await twin("a")
    running = await with_snapshots(bus, 2, eventually)
    await running.end()
    await bus.purge(JOURNAL, up_to_seq=2)
    for name in await bus.object_names("SNAPSHOTS"):
        await bus.object_delete("SNAPSHOTS", name)
    with pytest.raises(JournalLost, match="begins at 3"):
        await an_owner(bus).task


async def said(bus: Any, stream: str, seq: int) -> bool:
    return (await read_cursors(bus)).get(f"{stream}.tally") == seq


async def test_nothing_is_purged_before_every_reader_has_spoken(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    running = await with_snapshots(bus, 5, eventually)
    await eventually(lambda: said(bus, INPUT, 5))
    await running.service._keeper.tidy()
    assert (await bus.stream_state(INPUT)).first_seq == 1, "`other` never published"
    assert (await bus.stream_state(JOURNAL)).first_seq == 1, "`audience` never published"

    async def first(stream: str, seq: int) -> bool:
        return (await bus.stream_state(stream)).first_seq == seq

    await publish_cursor(bus, INPUT, "other", 2)
    await eventually(lambda: first(INPUT, 3))
    await publish_cursor(bus, INPUT, "other", 50)
    await eventually(lambda: first(INPUT, 6))
    await publish_cursor(bus, JOURNAL, "audience", 3)
    await eventually(lambda: first(JOURNAL, 4))
    await running.end()


async def test_the_own_journal_is_kept_behind_the_snapshot_before_the_newest(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    running = await with_snapshots(bus, 4, eventually)
    await publish_cursor(bus, JOURNAL, "audience", running.service.last_seq)
    await running.end()
    seqs = [header.seq async for header, _ in SnapshotStore(bus, "tally").newest_first()]
    state = await bus.stream_state(JOURNAL)
    assert 1 < state.first_seq <= seqs[1] + 1
    assert (await read_cursors(bus))[f"{JOURNAL}.tally"] <= seqs[1]


async def test_a_follower_publishes_only_what_its_storage_has_committed(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    for number in range(5):
        await deposit(bus, f"d{number}")
    follower = Follower(bus, stream=INPUT, name="other", after_seq=1)
    await follower.open()
    batch = await follower.next_batch()
    assert batch[0].seq == 2

    async def published() -> int | None:
        return (await read_cursors(bus)).get(f"{INPUT}.other")

    await eventually(published)
    assert await published() == 1
    follower.committed(4)

    async def is_four() -> bool:
        return await published() == 4

    await eventually(is_four)
    follower.committed(5)
    await follower.close()
    assert await published() == 5


async def test_an_input_that_the_broker_has_lost_is_read_on_with_an_alert(
    twin: Connect, broker: Any, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await twin("a")
    running = Running(a_service(bus))
    for number in range(3):
        await deposit(bus, f"d{number}")
    await eventually(lambda: running.active and running.held.total == 3)
    await running.end()
    del broker.streams[INPUT]
    await prepare(bus)
    await deposit(bus, "after")

    again = Running(a_service(bus))
    await eventually(lambda: again.active and again.held.times.get("after"))
    assert again.service.count()["input_rewinds"] == 1
    assert "DEPOSITS no longer holds what follows 3" in caplog.text
    broker.crash()
    del broker.streams[INPUT]
    broker.start()
    await eventually(lambda: bus.connected)
    await prepare(bus)
    await bus.append(INPUT_SUBJECT, b'{"name":"anew","amount":1}')
    broker.crash()
    broker.start()
    await eventually(lambda: again.active and again.held.times.get("anew"))
    assert again.service.count()["input_rewinds"] == 2
    await again.end()


async def is_ahead_of(bus: Any, seq: int) -> bool:
    return (await read_cursors(bus)).get(cursor_key(INPUT, "tally"), 0) > seq


async def test_a_stream_that_fills_up_is_an_alert_that_names_the_laggard(
    twin: Connect,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        keeping, "STREAMS", [StreamConfig(name=INPUT, subjects=("x",), max_bytes=1_000)]
    )
    bus = await twin("a")
    running = an_owner(bus)
    await publish_cursor(bus, INPUT, "other", 2)
    for number in range(12):
        await deposit(bus, f"d{number}", padding=number)
        if number == 2:
            await eventually(partial(is_ahead_of, bus, 2))
    await eventually(lambda: running.service.count().get("fill_alerts"))
    fill = running.service.fill(INPUT)
    assert fill is not None and 0.7 <= fill < 2
    assert "DEPOSITS is" in caplog.text and "other has read up to 2 of" in caplog.text
    assert running.service.fill("UNKNOWN") is None
    await running.end()


async def test_a_snapshot_rests_in_proportion_to_what_it_took(
    twin: Connect, eventually: Eventually
) -> None:
    bus = await twin("a")
    running = Running(a_service(bus, snapshot_every=1))
    await eventually(lambda: running.active)
    await running.service.submit(Deposit("a", 1))
    keeper = running.service._keeper
    await keeper.finish_upload()
    keeper._rest_ns = 3600 * 10**9
    assert not keeper.is_due(10**6, 10**12, {INPUT: 10**9})
    assert keeper.is_due(10**6, 0, {}, at_end=True)
    await running.end()


async def test_a_snapshot_is_due_when_much_was_read_however_little_followed(
    twin: Connect, eventually: Eventually
) -> None:
    bus = await twin("a")
    running = Running(a_service(bus))
    await eventually(lambda: running.active)
    keeper = running.service._keeper
    few, many = keeping.SNAPSHOT_INPUT - 1, keeping.SNAPSHOT_INPUT
    assert not keeper.is_due(100, 0, {INPUT: few})
    assert keeper.is_due(100, 0, {INPUT: many})
    await running.end()
