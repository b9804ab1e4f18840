"""Are children kept running, and ended completely, with small stand-ins for the real ones?"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock_mesh.child import LOG_BYTES_MAX, ChildSpec
from penstock_mesh.process_identity import ProcessIdentity, descendants, identify, read_pid_file
from penstock_mesh.supervisor import EXIT_STEPPED_DOWN, Supervisor, restart_delay_s

STUBBORN = "trap '' TERM; while :; do sleep 0.05; done"


class Watched:
    """A supervisor, what it reported, and its children's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reports: list[str] = []
        self.supervisor = Supervisor(self.reports.append)

    def start(self, name: str, script: str, reaper_pid_file: Path | None = None) -> None:
        self.supervisor.start(
            ChildSpec(
                name=name,
                argv=("/bin/sh", "-c", script),
                log=self.directory / f"{name}.log",
                directory=self.directory,
                reaper_pid_file=reaper_pid_file,
            )
        )

    def pid(self, name: str) -> int | None:
        identity = self.supervisor.identities().get(name)
        return None if identity is None else identity.pid

    def said(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(encoding="utf-8")


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path)
    yield made
    await made.supervisor.stop(made.supervisor.names, within_s=0)


def test_the_first_restart_is_immediate_and_later_ones_wait_longer_up_to_a_bound() -> None:
    delays = [restart_delay_s(n, 1) for n in range(1, 9)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert restart_delay_s(10_000, 1) == 5.0


def test_a_service_that_found_another_at_its_work_is_not_started_at_once() -> None:
    assert restart_delay_s(1, EXIT_STEPPED_DOWN) == 5.0


async def test_a_killed_child_is_started_again(watched: Watched, eventually: Any) -> None:
    watched.start("a", "exec sleep 60")
    first = watched.pid("a")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: watched.pid("a") not in (None, first))
    assert watched.reports == ["a ended (SIGKILL); starting it again now"]
    assert watched.supervisor.ends("a") == 1


async def test_a_child_that_ends_by_itself_is_started_again(
    watched: Watched, eventually: Any
) -> None:
    watched.start("a", "echo run; exit 3")
    await eventually(lambda: watched.said("a").count("run") == 3)
    assert watched.reports[:2] == [
        "a ended (exit code 3); starting it again now",
        "a ended (exit code 3); starting it again in 0.1 s",
    ]


async def test_a_stopped_child_is_not_started_again(watched: Watched) -> None:
    watched.start("a", "echo run; exec sleep 60")
    await watched.supervisor.stop(["a"], within_s=5)
    assert watched.pid("a") is None
    assert watched.reports == []


async def test_a_child_waiting_for_its_restart_is_stopped_too(
    watched: Watched, eventually: Any
) -> None:
    watched.start("a", "echo run; exit 1")
    await eventually(lambda: watched.supervisor.ends("a") == 2)
    await watched.supervisor.stop(["a"], within_s=5)
    runs = watched.said("a")
    watched.start("b", "exit 1")
    await eventually(lambda: watched.supervisor.ends("b") == 4)  # longer than the delay of `a`
    assert watched.said("a") == runs


async def test_a_child_that_ignores_sigterm_is_killed(watched: Watched, eventually: Any) -> None:
    watched.start("a", f"echo on; {STUBBORN}")
    await eventually(lambda: watched.said("a"))
    await watched.supervisor.stop(["a"], within_s=0.1)
    assert watched.pid("a") is None
    assert watched.reports == ["a did not stop within 0.1 s; killing it"]


async def test_a_frozen_child_stops_without_being_killed(watched: Watched) -> None:
    watched.start("a", "exec sleep 60")
    pid = watched.pid("a")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await watched.supervisor.stop(["a"], within_s=5)
    assert watched.reports == []


LIBRARY_SIGNALS = 0b11 << 31
"""Signals 32 and 33 are the C library's own: no program can set what becomes of them."""


async def test_a_child_has_a_session_of_its_own_and_default_signals(
    watched: Watched, eventually: Any
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watched.start("a", "grep -E '^(SigIgn|SigBlk)' /proc/self/status; exec sleep 60")
    finally:
        signal.signal(signal.SIGINT, before)
    pid = watched.pid("a")
    assert pid is not None
    assert os.getsid(pid) == pid
    await eventually(lambda: watched.said("a").count("\n") == 2)
    masks = [int(line.split()[1], 16) for line in watched.said("a").splitlines()]
    assert [mask & ~LIBRARY_SIGNALS for mask in masks] == [0, 0]


async def test_a_large_log_is_put_aside_when_its_process_starts(watched: Watched) -> None:
    log = watched.directory / "a.log"
    with log.open("wb") as file:
        file.truncate(LOG_BYTES_MAX + 1)
    watched.start("a", "exec sleep 60")
    assert (watched.directory / "a.log.1").stat().st_size == LOG_BYTES_MAX + 1
    assert log.stat().st_size < LOG_BYTES_MAX


async def test_a_program_that_does_not_exist_is_an_error_at_once(watched: Watched) -> None:
    with pytest.raises(FileNotFoundError):
        watched.supervisor.start(
            ChildSpec(
                name="a",
                argv=("/nonexistent",),
                log=watched.directory / "a.log",
                directory=watched.directory,
            )
        )


async def test_what_a_dead_child_left_behind_is_ended(watched: Watched, eventually: Any) -> None:
    reaper = await a_reaper(watched, eventually, "exec sleep 60")
    assert watched.supervisor.orphaned(["n"]) == ["n"]
    await watched.supervisor.stop_reapers(["n"], within_s=5)
    assert not reaper.alive
    assert watched.supervisor.orphaned(["n"]) == []


def _is_apart(pid: int, reaper: int) -> bool:
    try:
        return os.getsid(pid) != os.getsid(reaper)
    except ProcessLookupError:  # the shell's own, for a moment
        return False


async def test_a_reaper_that_does_not_stop_is_killed_with_its_jobs(
    watched: Watched, eventually: Any
) -> None:
    script = f'(setsid /bin/sh -c "{STUBBORN}") & {STUBBORN}'
    reaper = await a_reaper(watched, eventually, script)
    jobs: list[ProcessIdentity] = await eventually(
        lambda: [p for p in descendants(reaper.pid) if _is_apart(p.pid, reaper.pid)]
    )
    await watched.supervisor.stop_reapers(["n"], within_s=0.2)
    assert not reaper.alive
    await eventually(lambda: not any(job.alive for job in jobs))


@pytest.mark.lesson(10)
async def test_a_reaper_file_of_another_process_harms_nobody(watched: Watched) -> None:
    own = identify(os.getpid())
    assert own is not None
    pid_file = watched.directory / "reaper.pid"
    pid_file.write_text(f"{own.pid} {own.start_ticks + 1}\n", encoding="ascii")
    watched.start("n", "exec sleep 60", reaper_pid_file=pid_file)
    await watched.supervisor.stop_reapers(["n"], within_s=1)
    for rubbish in ("", "1", "x y", "999999999 1"):
        pid_file.write_text(rubbish, encoding="ascii")
        await watched.supervisor.stop_reapers(["n"], within_s=1)


async def a_reaper(watched: Watched, eventually: Any, script: str) -> ProcessIdentity:
    """A process in a session of its own, left behind by child `n`, which has ended for good."""
    pid_file = watched.directory / "reaper.pid"
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, start_new_session=True)
    identity = identify(process.pid)
    assert identity is not None
    pid_file.write_text(f"{identity.pid} {identity.start_ticks}\n", encoding="ascii")
    assert read_pid_file(pid_file) == identity
    watched.start("n", "exec sleep 60", reaper_pid_file=pid_file)
    await watched.supervisor.stop(["n"], within_s=5)
    return identity


async def test_children_end_when_their_supervisor_is_killed(
    tmp_path: Path, eventually: Any
) -> None:
    program = textwrap.dedent(
        f"""
        import asyncio
        from pathlib import Path
        from penstock_mesh.child import ChildSpec
        from penstock_mesh.supervisor import Supervisor

        async def main():
            supervisor = Supervisor(print)
            supervisor.start(ChildSpec(name="a", argv=("/bin/sleep", "60"),
                                       log=Path({str(tmp_path / "a.log")!r}),
                                       directory=Path({str(tmp_path)!r})))
            print(supervisor.identities()["a"].pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
        """
    )
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    child = identify(int(await supervisor.stdout.readline()))
    assert child is not None
    supervisor.kill()
    await supervisor.wait()
    await eventually(lambda: not child.alive)


async def test_changes_are_told_so_that_they_can_be_noted(tmp_path: Path, eventually: Any) -> None:
    notes: list[dict[str, Any]] = []
    supervisor = Supervisor(lambda _: None, lambda: notes.append(dict(supervisor.identities())))
    supervisor.start(
        ChildSpec(name="a", argv=("/bin/sleep", "60"), log=tmp_path / "a.log", directory=tmp_path)
    )
    await supervisor.stop(["a"], within_s=5)
    assert [list(note) for note in notes] == [["a"], []]
