"""Is the state still to be had when the broker has lost snapshots that it had acknowledged?"""

from __future__ import annotations

from typing import Any

from conftest import Eventually
from penstock_runtime.cursors import publish_cursor
from penstock_runtime.pace import Pace
from penstock_runtime.snapshots import BUCKET, SnapshotStore
from runtime.conftest import Connect
from runtime.tally import JOURNAL, Running, a_service, deposit


def an_owner(bus: Any) -> Running:
    """It tidies when it is told to."""
    readers = {JOURNAL: ("audience",)}
    return Running(
        a_service(bus, snapshot_every=1, owns=(JOURNAL,), readers=readers, pace=Pace(tidy_s=3600))
    )


def is_snapshotted(running: Running) -> bool:
    """What is due while another is under way is looked at again when the service wakes."""
    running.service.wake()
    return running.service._keeper._seq == running.service.last_seq


async def lose_snapshots(bus: Any) -> None:
    for name in await bus.object_names(BUCKET):
        await bus.object_delete(BUCKET, name)


async def test_a_journal_whose_snapshots_are_lost_is_not_purged(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    running = an_owner(bus)
    await eventually(lambda: running.active)
    keeper = running.service._keeper
    for number in range(6):
        await deposit(bus, f"d{number}")
        await eventually(lambda n=number: len(running.held.times) == n + 1)
        await eventually(lambda: is_snapshotted(running))
        if number == 2:
            await lose_snapshots(bus)  # before anything was said of them
            await publish_cursor(bus, JOURNAL, "audience", running.service.last_seq)
            await keeper.tidy()
            assert (await bus.stream_state(JOURNAL)).first_seq == 1
    await publish_cursor(bus, JOURNAL, "audience", running.service.last_seq)
    await keeper.tidy()
    seqs = await SnapshotStore(bus, "tally").seqs()
    assert (await bus.stream_state(JOURNAL)).first_seq == seqs[1] + 1
    await lose_snapshots(bus)  # after it was said that the journal is not needed
    await deposit(bus, "more")
    await eventually(lambda: is_snapshotted(running))
    await keeper.tidy()
    assert (await bus.stream_state(JOURNAL)).first_seq == seqs[1] + 1
    await running.service._say_farewell()
    times = running.held.times
    await running.end()
    again = an_owner(bus)
    await eventually(lambda: again.active)
    assert again.held.times == times
    await again.end()


async def test_an_older_snapshot_stays_when_the_one_behind_it_is_lost(connect: Connect) -> None:
    bus = await connect("a")
    store = SnapshotStore(bus, "tally")

    async def write(seq: int, before_seq: int) -> None:
        await store.write(
            b"state", seq=seq, term=1, now_ns=1, cursors={}, marks={}, before_seq=before_seq
        )

    await write(2, 0)
    await write(4, 2)
    await bus.object_delete(BUCKET, f"tally.{4:020d}")
    await write(6, 4)
    assert await store.seqs() == [6, 2]
    await write(8, 6)
    assert await store.seqs() == [8, 6]
