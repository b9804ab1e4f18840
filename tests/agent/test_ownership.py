"""Does a reaper ever touch a process that is not provably its own?"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.reaper_client import ReaperClient, alive, pid_in, wait_until
from penstock_node_agent.reaper.attempts import Attempt
from penstock_node_agent.reaper.leftovers import Dying, kill_leftovers
from penstock_node_agent.reaper.processes import TICK_NS

DAEMON = "(setsid sh -c 'echo $$ >{file}; sleep 60' &) & sleep 60"

Factory = Callable[[str], ReaperClient]


@pytest.fixture
def reaper_of(tmp_path: Path) -> Iterator[Factory]:
    """`reaper_of("n1")` is the client of a reaper in a state directory of that name."""
    made: list[ReaperClient] = []

    def make(name: str) -> ReaperClient:
        directory = tmp_path / name
        directory.mkdir()
        made.append(ReaperClient(directory))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.mark.lesson(10)
async def test_a_reaper_that_takes_over_leaves_another_meshs_work_alone(reaper_of: Factory) -> None:
    mine, theirs = reaper_of("state"), reaper_of("state-2")
    running: dict[str, list[int]] = {}
    for client in (mine, theirs):  # both know an attempt by the same key
        await client.start()
        file = client.work / "daemon"
        client.shell("k", DAEMON.format(file=file))
        running[client.directory.name] = [client.wait_for("began", "k")[3], pid_in(file)]
    mine.kill_reaper()
    await mine.start()
    assert mine.end_of("k")["reason"] == "lost"
    wait_until(lambda: not any(map(alive, running["state"])), "what was ours is gone")
    assert all(map(alive, running["state-2"])), "the other's main process and its daemon live"
    theirs.connect()
    assert theirs.known() == ["k"]
    assert not [line for line in theirs.lines if line[0] == "ended"]


@contextmanager
def strangers(directory: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that look a little like a job of a reaper in `directory`."""
    marks = ({}, {"PENSTOCK_REAPER": f"{directory}-2:left"}, {"PENSTOCK_JOB_ID": "left"})
    made = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, **mark}, start_new_session=leads)
        for mark, leads in itertools.product(marks, (True, False))
    ]
    try:
        yield made
    finally:
        for process in made:
            process.kill()
            process.wait()


@pytest.mark.lesson(10)
async def test_a_reaper_leaves_alone_whatever_else_runs_on_its_host(reaper_of: Factory) -> None:
    reaper = reaper_of("state")
    with strangers(reaper.directory) as others:
        await reaper.start()
        reaper.shell("ended", "exit 3")
        assert reaper.end_of("ended")["code"] == 3
        reaper.shell("left", "sleep 60")
        reaper.wait_for("began", "left")
        reaper.kill_reaper()
        await reaper.start()
        assert reaper.end_of("left")["reason"] == "lost"
        assert [stranger.poll() for stranger in others] == [None] * len(others)


@pytest.mark.lesson(9, 10)
async def test_what_ran_for_a_state_directory_that_was_lost_ends_before_an_agent_comes_in(
    reaper_of: Factory,
) -> None:
    wiped, other = reaper_of("state"), reaper_of("state-2")
    running: dict[str, list[int]] = {}
    for client in (wiped, other):
        await client.start()
        file = client.directory.parent / f"{client.directory.name}.daemon"
        client.shell("k", DAEMON.format(file=file))
        running[client.directory.name] = [client.wait_for("began", "k")[3], pid_in(file)]
    orphaned = wiped.pid
    shutil.rmtree(wiped.directory)
    wiped.directory.mkdir()
    try:
        await wiped.start()
        assert not any(map(alive, running["state"])), "two would use one device"
        assert all(map(alive, running["state-2"]))
        assert (wiped.known(), wiped.end_of("k")["reason"]) == (["k"], "lost")
    finally:
        os.kill(orphaned, signal.SIGKILL)


DYING = "(dying)"
"""The mark of a process of which the kernel tells none any more."""


class Table:
    """Processes as a reaper sees them: pid → (session, start in ticks, mark)."""

    def __init__(self, **rows: tuple[int, int, str]) -> None:
        self.rows = {int(name.removeprefix("p")): row for name, row in rows.items()}
        self.own: list[int] = []
        self.killed: list[tuple[int, int]] = []

    def everything(self) -> list[int]:
        return list(self.rows)

    def children(self) -> list[int]:
        return self.own

    def slot_of(self, pid: int) -> int | None:
        return None

    def session_of(self, pid: int) -> int | None:
        return self.rows[pid][0] if pid in self.rows else None

    def start_ticks(self, pid: int) -> int | None:
        return self.rows[pid][1] if pid in self.rows else None

    def mark_of(self, pid: int, prefix: str) -> str | None:
        mark = self.rows[pid][2]
        if mark == DYING:
            return None
        return mark.removeprefix(prefix) if mark.startswith(prefix) else ""

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))


@pytest.mark.lesson(10)
@pytest.mark.parametrize(
    ("table", "killed"),
    [
        (Table(p500=(500, 100, "/state:k"), p501=(500, 130, "")), [500, 501]),
        (Table(p501=(500, 130, "")), [501]),  # its leader has ended
        (Table(p500=(500, 900, ""), p501=(500, 901, "")), []),  # the number went to another
        (Table(p501=(500, 90, "")), []),  # older than the attempt
        (Table(p600=(600, 90, "/state:k")), [600]),
        (Table(p600=(600, 900, "/state-2:k"), p601=(600, 900, "/state:other")), []),
    ],
)
def test_after_a_takeover_only_the_attempts_own_session_and_mark_count(
    table: Table, killed: list[int]
) -> None:
    attempt = Attempt("k", 100 * TICK_NS + 1, "out", "err")
    attempt.pid, attempt.old = 500, True
    left = kill_leftovers(table, "/state", {}, {"k": attempt})  # type: ignore[arg-type]
    assert table.killed == [(pid, signal.SIGKILL) for pid in killed]
    assert left == ({"k"} if killed else set())


@pytest.mark.lesson(9)
def test_a_child_that_no_longer_says_whose_it_is_keeps_the_attempt_from_being_gone() -> None:
    table = Table(p600=(600, 130, DYING))
    table.own = [600]
    attempt = Attempt("k", 100 * TICK_NS + 1, "out", "err")
    attempt.pid = 500
    assert kill_leftovers(table, "/state", {}, {"k": attempt}) == {"k"}  # type: ignore[arg-type]
    table.own.clear()
    assert not kill_leftovers(table, "/state", {}, {"k": attempt})  # type: ignore[arg-type]


@pytest.mark.lesson(9, 10)
@pytest.mark.parametrize(
    ("then", "gone"),
    [
        ((600, 90, DYING), False),
        (None, True),
        ((600, 950, ""), True),  # the number went to another
    ],
)
def test_after_a_takeover_what_was_killed_counts_until_the_kernel_has_taken_it_apart(
    then: tuple[int, int, str] | None, gone: bool
) -> None:
    table = Table(p600=(600, 90, "/state:k"))
    attempt = Attempt("k", 100 * TICK_NS + 1, "out", "err")
    attempt.pid, attempt.old = 500, True
    dying: dict[int, Dying] = {}

    def left() -> set[str]:
        waiting = {"k": attempt}
        return kill_leftovers(table, "/state", {}, waiting, dying=dying)  # type: ignore[arg-type]

    assert left() == {"k"}
    table.rows = {} if then is None else {600: then}
    assert left() == (set() if gone else {"k"})
    assert len(dying) == (0 if gone else 1)
