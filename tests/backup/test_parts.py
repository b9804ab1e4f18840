"""Does everything in a copy agree, on either database and while the mesh goes on working?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metering.conftest import Ledger
from metering.mesh import prepare
from metering.processes import Instance, a_long_story, audit_when_sold
from metering.test_ingest import a_busy_world
from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import StoredMessage
from penstock_mesh import backup
from penstock_mesh.backup import Wanted, back_up
from penstock_mesh.backup_ledger import copy_ledger, restore_ledger
from penstock_mesh.backup_manifest import BackupError, LedgerPart, Manifest, read_manifest
from penstock_mesh.restore import restore_streams

STREAMS = ("JOBS", "NODES", "USAGE")


def say_nothing(sentence: str) -> None:
    """A report that nobody reads."""


@pytest.fixture
def empty_server(nats_server_factory: Any) -> Any:
    """A broker without any stream."""
    return nats_server_factory()


@pytest.fixture
async def empty_bus(empty_server: Any) -> AsyncIterator[NatsBus]:
    made = await connect(empty_server.url, name="restore")
    yield made
    await made.close()


@pytest.fixture
def instance() -> Iterator[Callable[[Path, str], Instance]]:
    """Starts metering; whatever still runs is killed afterwards."""
    started: list[Instance] = []

    def start(directory: Path, url: str) -> Instance:
        directory.mkdir(exist_ok=True)
        started.append(Instance(directory, url))
        return started[-1]

    yield start
    for each in started:
        each.kill()


async def contents(bus: NatsBus, stream: str) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    while page := await bus.read_many(stream, found[-1].seq + 1 if found else 1, ">", limit=1_000):
        found += page
    return found


async def test_a_copy_of_a_busy_mesh_agrees_in_itself_and_is_restored_to_the_letter(
    bus: NatsBus,
    nats_server: Any,
    empty_bus: NatsBus,
    empty_server: Any,
    tmp_path: Path,
    instance: Callable[[Path, str], Instance],
    eventually: Any,
) -> None:
    await prepare(bus)
    world, sold = a_long_story(400)
    first = instance(tmp_path, nats_server.url)
    await eventually(lambda: first.is_ready, timeout_s=30)
    begun, copied = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        order = sorted(
            (m for name in STREAMS for m in world.streams[name]), key=lambda m: m.time_ns
        )
        for index, message in enumerate(order):
            await bus.append(message.subject, message.payload, message_id=f"id-{index}")
            if index == len(order) // 3:
                begun.set()
            if index == len(order) * 2 // 3:
                await copied.wait()

    working = asyncio.create_task(work())
    await begun.wait()
    target = tmp_path / "backup"
    wanted = Wanted(
        database=f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite'}", data=None, logs=False
    )
    made = await back_up(bus, target, wanted, say_nothing)
    copied.set()
    await working
    first.kill()
    await check_agrees(made)
    await restore_streams(empty_bus, target, read_manifest(target), say_nothing)
    for part in made.streams:
        if part.name in STREAMS:
            expected = [m for m in await contents(bus, part.name) if m.seq <= part.last_seq]
            assert await contents(empty_bus, part.name) == expected
            assert len(expected) > 0

    home = tmp_path / "restored"
    restore_ledger(
        made.ledger or pytest.fail("no ledger"), target, f"sqlite:///{home}/data/ledger.sqlite"
    )
    for name in STREAMS:  # what the mesh did after the copy, it does again
        held = (await empty_bus.stream_state(name)).last_seq
        for message in world.streams[name][held:]:
            await empty_bus.append(message.subject, message.payload)
    second = instance(home, empty_server.url)
    await eventually(lambda: second.is_ready, timeout_s=30)
    said = await audit_when_sold(empty_bus, world, sold)
    assert (said.unaccounted_ms, said.findings) == (0, ())
    assert (said.accepted, said.device_milli_ms["sold"]) == (400, sold)


async def check_agrees(made: Manifest) -> None:
    assert made.ledger is not None
    for part in made.streams:
        if part.name in made.ledger.cursors:
            assert part.first_seq - 1 <= made.ledger.cursors[part.name] <= part.last_seq


def purging(bus: NatsBus, times: list[int]) -> Callable[[str, Path], LedgerPart]:
    """A copy of the ledger after which metering reads on and discards, the first `times`."""
    loop = asyncio.get_running_loop()

    async def read_on() -> None:
        await bus.append("penstock.v1.usage.n1", b"{}")
        await bus.purge("USAGE")

    def copy(url: str, target: Path) -> LedgerPart:
        if times[0] > 0:
            times[0] -= 1
            asyncio.run_coroutine_threadsafe(read_on(), loop).result()
            return LedgerPart(kind="sqlite", file="ledger.sqlite", cursors={})
        return LedgerPart(kind="sqlite", file="ledger.sqlite", cursors={"USAGE": 2})

    return copy


async def test_what_is_discarded_while_it_is_copied_has_the_copy_taken_again(
    bus: NatsBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(bus)
    monkeypatch.setattr(backup, "RETRY_S", 0.0)
    monkeypatch.setattr(backup, "copy_ledger", purging(bus, [2]))
    wanted = Wanted(database="sqlite:///ledger", data=None, logs=False)
    said: list[str] = []
    made = await back_up(bus, tmp_path / "twice", wanted, said.append)
    assert len([sentence for sentence in said if sentence.startswith("copying again")]) == 2
    await check_agrees(made)
    monkeypatch.setattr(backup, "copy_ledger", purging(bus, [backup.TRIES]))
    with pytest.raises(BackupError, match="discards faster than it can be copied: USAGE begins"):
        await back_up(bus, tmp_path / "never", wanted, say_nothing)
    with pytest.raises(BackupError, match="no backup, or one that was not finished"):
        read_manifest(tmp_path / "never")


async def test_a_broker_without_a_mesh_is_not_backed_up(empty_bus: NatsBus, tmp_path: Path) -> None:
    wanted = Wanted(database=None, data=None, logs=False)
    with pytest.raises(BackupError, match="is this a mesh"):
        await back_up(empty_bus, tmp_path / "backup", wanted, say_nothing)


def test_a_ledger_on_sqlite_comes_back_as_it_was(sqlite: Ledger, tmp_path: Path) -> None:
    sqlite.take_all(a_busy_world())
    part = copy_ledger(sqlite.url, tmp_path)
    assert part.cursors == sqlite.ingest.cursors
    url = f"sqlite:///{tmp_path / 'new' / 'ledger.sqlite'}"
    restore_ledger(part, tmp_path, url)
    check_same(sqlite, Ledger(tmp_path, url))
    with pytest.raises(BackupError, match="there is a ledger already"):
        restore_ledger(part, tmp_path, url)
    with pytest.raises(BackupError, match="holds a ledger of sqlite"):
        restore_ledger(part, tmp_path, "postgresql:///penstock")


def test_a_ledger_on_postgresql_comes_back_as_it_was(
    postgresql: Ledger, postgresql_url: str, tmp_path: Path
) -> None:
    postgresql.take_all(a_busy_world())
    part = copy_ledger(postgresql.url, tmp_path)
    assert part.cursors == postgresql.ingest.cursors
    restore_ledger(part, tmp_path, postgresql_url)
    check_same(postgresql, Ledger(tmp_path, postgresql_url))
    with pytest.raises(BackupError, match="there is a ledger already"):
        restore_ledger(part, tmp_path, postgresql_url)


def check_same(before: Ledger, after: Ledger) -> None:
    assert after.contents() == before.contents()
    assert after.ingest.cursors == before.ingest.cursors
    after.database.close()


def test_without_postgresql_s_programs_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match=r"psql is not on PATH: .*postgresql-client"):
        copy_ledger("postgresql:///penstock", tmp_path)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("mysql://x", "names neither"), ("sqlite:////nowhere/ledger.sqlite", "there is no ledger at")],
)
def test_a_ledger_that_is_not_there_is_named(url: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=sentence):
        copy_ledger(url, tmp_path)
