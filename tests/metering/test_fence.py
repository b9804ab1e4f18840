"""Of two writers of one ledger, does the older change nothing more?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from metering.conftest import Ledger, LedgerFactory
from metering.test_ingest import a_busy_world, comparable
from penstock_metering.ledger import database
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Superseded, Writer, last_writer
from penstock_metering.ledger.ingest import DatabaseBusy, Ingest, open_ledger
from penstock_metering.ledger.predecessor import end_predecessor
from penstock_metering.rating.rater import rate_all
from penstock_runtime.leadership import start_of_process, this_process

RivalOf = Callable[[Ledger], Ingest]
US = Writer(name="us", host="here", pid=1, pid_start=1)


@pytest.fixture
def rival_of() -> Iterator[RivalOf]:
    """Opens a ledger a second time, as a process that takes over does."""
    made: list[Database] = []

    def make(ledger: Ledger) -> Ingest:
        made.append(Database(ledger.url))
        return open_ledger(made[-1], Writer(name="rival"))

    yield make
    for each in made:
        each.close()


def test_a_superseded_writer_changes_nothing_and_learns_it(
    ledger: Ledger, rival_of: RivalOf, make_ledger: LedgerFactory
) -> None:
    world = a_busy_world()
    half = {name: messages[: len(messages) // 2] for name, messages in world.streams.items()}
    ledger.take(half)
    zombie = ledger.ingest
    rival = rival_of(ledger)
    before = ledger.contents()
    with pytest.raises(Superseded):
        zombie.commit(world.streams)
    with pytest.raises(Superseded):
        zombie.jump("USAGE", 10_000)
    assert ledger.contents() == before
    rival.commit(world.streams)
    rival.change(rate_all)
    with pytest.raises(Superseded):
        zombie.commit(world.streams)
    undisturbed = make_ledger()
    undisturbed.take_all(world)
    assert comparable(ledger) == comparable(undisturbed)


def test_a_successor_sees_all_that_its_predecessor_committed(
    ledger: Ledger, rival_of: RivalOf
) -> None:
    world = a_busy_world()
    ledger.take_all(world)
    rival = rival_of(ledger)
    assert rival.cursors == {name: len(messages) for name, messages in world.streams.items()}
    before = ledger.contents()
    rival.commit(world.streams)
    assert ledger.contents() == before


def test_the_database_says_who_writes(ledger: Ledger, rival_of: RivalOf) -> None:
    rival_of(ledger)
    assert last_writer(ledger.database).name == "rival"


def test_a_writer_stuck_within_a_transaction_on_postgresql_is_cut_off_by_the_server(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    quick = [s for s in database.POSTGRESQL_SETTINGS if "idle" not in s and "lock" not in s]
    quick += ["idle_in_transaction_session_timeout = '300ms'", "lock_timeout = '10s'"]
    monkeypatch.setattr(database, "POSTGRESQL_SETTINGS", tuple(quick))
    stuck, other = Database(postgresql_url), Database(postgresql_url)
    open_ledger(stuck, Writer(name="stuck"))
    connection = stuck.writing.connect()
    connection.exec_driver_sql("SELECT term FROM ledger_writer FOR UPDATE")
    open_ledger(other, Writer(name="rival"))
    assert last_writer(other).name == "rival"
    connection.invalidate()
    connection.close()
    for each in (stuck, other):
        each.close()


HOLD = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_frozen_writer_that_holds_the_file_s_lock_is_ended(
    sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    argv = [sys.executable, "-c", HOLD, sqlite.url.removeprefix("sqlite:///")]
    frozen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert frozen.stdout is not None
    host = this_process("").host
    start = start_of_process(frozen.pid)
    assert start is not None
    record = sa.text("UPDATE ledger_writer SET host = :host, pid = :pid, pid_start = :start")
    with sqlite.database.writing.begin() as connection:
        connection.execute(record, {"host": host, "pid": frozen.pid, "start": start})
    assert frozen.stdout.readline() == b"held\n"
    frozen.send_signal(signal.SIGSTOP)
    successor = Database(sqlite.url)
    us = Writer(name="us", host=host, pid=os.getpid(), pid_start=1)
    with pytest.raises(DatabaseBusy):
        open_ledger(successor, us)
    assert end_predecessor(last_writer(successor), us)
    assert frozen.wait() == -signal.SIGKILL
    open_ledger(successor, us)
    successor.close()
    frozen.stdin.close()  # type: ignore[union-attr]
    frozen.stdout.close()


@pytest.mark.parametrize(
    "last",
    [
        Writer(name="on another host", host="there", pid=1, pid_start=1),
        Writer(name="of unknown place", host="", pid=1, pid_start=1),
        Writer(name="ourselves", host="here", pid=1, pid_start=1),
        Writer(name="long gone", host="here", pid=4_194_305, pid_start=1),
        Writer(name="whose number another has", host="here", pid=os.getpid(), pid_start=-1),
    ],
)
def test_nobody_else_is_ended(last: Writer) -> None:
    assert not end_predecessor(last, US)
