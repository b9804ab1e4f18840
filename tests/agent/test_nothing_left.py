"""Is a job that does all it can to stay gone without a trace before it is told so?"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.reaper_client import ReaperClient, alive, pid_in, wait_until

WITH, WITHOUT = "with control groups", "without control groups"
HIDE = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "for depth in range(3):\n"
    "    if os.fork():\n"
    "        time.sleep(60) if depth == 0 else os._exit(0)\n"
    "    os.setsid()\n"
    "if len(sys.argv) == 2:\n"
    "    os.execve(sys.executable, [sys.executable, __file__, sys.argv[1], 'again'], {})\n"
    "with open(sys.argv[1], 'w') as file:\n"
    "    print(os.getpid(), file=file)\n"
    "time.sleep(60)\n"
)
HOLD = (
    "import os, signal, sys, time\n"
    "if os.fork():\n"
    "    time.sleep(60)\n"
    "os.setsid()\n"
    "memory = bytearray(400_000_000)\n"
    "with open(sys.argv[1], 'w') as file:\n"
    "    print(os.getpid(), file=file)\n"
    "time.sleep(60)\n"
)
"""A daemon that the kernel takes some time to take apart."""
"""Forks, forks twice, changes its session each time, heeds no SIGTERM, forgets its environment and
does it all again."""


@pytest.fixture(params=(WITH, WITHOUT))
async def client(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ReaperClient]:
    client = ReaperClient(tmp_path)
    if request.param == WITHOUT:
        client.start_without_groups()
    else:
        await client.start()
        if "none" in client.abilities["facts"]["cgroups"]:
            pytest.skip("this host has no control groups for us")
    yield client
    client.close()


def hide(client: ReaperClient, key: str, slot: int, how: str = HIDE) -> int:
    """Have a job hide; returns the pid of what has hidden farthest."""
    program, file = client.directory / "hide.py", client.work / f"{key}.pid"
    program.write_text(how, "ascii")
    client.shell(key, f"exec python3 {program} {file}", slot=slot)
    return pid_in(file)


def of_session(pid: int) -> set[int]:
    """All processes of the host whose command line names the program of `hide` as that one's."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[2]
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and alive(int(name)):
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if line in command:
                found.add(int(name))
    return found


@pytest.mark.lesson(9)
async def test_whoever_forks_changes_session_and_ignores_sigterm_is_gone_when_that_is_told(
    client: ReaperClient,
) -> None:
    hidden = hide(client, "k", 1)
    everybody = of_session(hidden)
    assert len(everybody) >= 2, "main process and daemon, at least"
    client.send(op="stop", key="k", reason="cancelled", grace_s=0.1)
    end = client.end_of("k")
    gone_ns = end["gone_ns"] or client.wait_for("gone", "k")[2]
    assert gone_ns >= end["at_ns"]
    assert not any(map(alive, everybody))
    wait_until(lambda: not client.groups, "no control group is left")


@pytest.mark.lesson(9)
async def test_what_takes_time_to_die_is_dead_before_it_is_told_gone(client: ReaperClient) -> None:
    """Its memory and its devices are free only then."""
    hidden = hide(client, "k", 1, HOLD)
    client.send(op="stop", key="k", reason="cancelled", grace_s=0)
    if client.end_of("k")["gone_ns"] is None:
        client.wait_for("gone", "k")
    assert not alive(hidden)


@pytest.mark.lesson(9)
async def test_what_hides_is_gone_too_when_the_main_process_ends_by_itself(
    client: ReaperClient,
) -> None:
    hidden = hide(client, "k", 1)
    main = client.wait_for("began", "k")[3]
    os.kill(main, signal.SIGKILL)
    client.end_of("k")
    assert not alive(hidden)


async def test_a_daemon_of_another_running_job_is_left_alone_wherever_it_hides(
    tmp_path: Path,
) -> None:
    client = ReaperClient(tmp_path)
    await client.start()
    try:
        if "none" in client.abilities["facts"]["cgroups"]:
            pytest.skip("this host has no control groups for us")
        hidden = hide(client, "runs", 1)
        client.shell("ends", "(sleep 60 &) ; exit 3", slot=2)
        assert client.end_of("ends")["code"] == 3
        assert alive(hidden), "it is the other's"
        client.send(op="stop", key="runs", reason="cancelled", grace_s=0.1)
        client.end_of("runs")
        assert not alive(hidden)
    finally:
        client.close()


@pytest.mark.lesson(9, 10)
async def test_what_hid_from_a_reaper_that_died_ends_before_an_agent_comes_in(
    client: ReaperClient,
) -> None:
    grouped = bool(client.groups) or "none" not in client.abilities["facts"]["cgroups"]
    everybody = of_session(hide(client, "k", 1))
    main = client.wait_for("began", "k")[3]
    client.kill_reaper()
    await client.start()
    end = client.end_of("k")
    assert (end["reason"], end["code"], end["signal"]) == ("lost", None, None)
    if grouped:
        assert not any(map(alive, everybody))
        assert not client.groups
    else:  # what bears no mark and is nobody's child belongs to nobody where there are no groups
        assert not alive(main)
        for pid in everybody - {main}:
            os.kill(pid, signal.SIGKILL)


async def test_a_fork_bomb_is_put_out(tmp_path: Path) -> None:
    client = ReaperClient(tmp_path)
    await client.start()
    try:
        if "none" in client.abilities["facts"]["cgroups"]:
            pytest.skip("this host has no control groups for us")
        bomb = "f() { (setsid sh -c 'sleep 0.01; sleep 60' & f) & sleep 0.02; f; }; f"
        client.shell("bomb", f"ulimit -u 20000; {bomb}", slot=1, limit_s=0.5, grace_s=0)
        end = client.end_of("bomb")
        assert end["reason"] == "time_limit"
        if end["gone_ns"] is None:
            client.wait_for("gone", "bomb")
        wait_until(lambda: not client.groups, "no control group is left")
    finally:
        client.close()
