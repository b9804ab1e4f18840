"""What does the agent hear of a program that it runs, and what is left of it?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock_node_agent.programs import NOT_STARTED, OUTPUT_BYTES_MAX, Ran, run

ENV = {"PATH": os.environ["PATH"]}
LONG_S = 60.0


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


async def test_its_code_and_the_end_of_all_it_says_are_heard() -> None:
    ran = await run(shell("echo out; echo err >&2; exit 3"), ENV, LONG_S)
    assert ran == Ran(3, "out\nerr\n") and ran.last_line == "err"
    assert (await run(("cat",), ENV, LONG_S, "quit\n")).output == "quit\n"
    assert (await run(shell("kill -9 $$"), ENV, LONG_S)).code == -9
    long = await run(shell(f"head -c {4 * OUTPUT_BYTES_MAX} /dev/zero; echo end"), ENV, LONG_S)
    assert len(long.output) <= OUTPUT_BYTES_MAX
    assert long.output.endswith("end\n")


@pytest.mark.parametrize("argv", [("/not/there",), ("/etc/passwd",)])
async def test_one_that_cannot_be_started_says_so(argv: tuple[str, ...]) -> None:
    ran = await run(argv, ENV, LONG_S)
    assert ran.code in NOT_STARTED and argv[0] in ran.output


async def test_after_its_time_nothing_of_it_is_left(tmp_path: Path, eventually: Any) -> None:
    ran = await run(shell(f"sleep 600 & echo $! > {tmp_path}/pid; wait"), ENV, 0.3)
    assert ran.code is None
    await eventually(lambda: is_gone(tmp_path / "pid"))


async def test_what_it_leaves_behind_ends_with_it(tmp_path: Path, eventually: Any) -> None:
    assert (await run(shell(f"sleep 600 & echo $! > {tmp_path}/pid"), ENV, LONG_S)).code == 0
    await eventually(lambda: is_gone(tmp_path / "pid"))


async def test_a_cancelled_one_is_gone_before_its_caller_goes_on(
    tmp_path: Path, eventually: Any
) -> None:
    pid = tmp_path / "pid"
    task = asyncio.ensure_future(run(shell(f"echo $$ > {pid}; exec sleep 600"), ENV, LONG_S))
    await eventually(lambda: pid.exists() and pid.read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_gone(pid)


def test_it_does_not_outlive_an_agent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio\nfrom penstock_node_agent.programs import run\n"
        f"asyncio.run(run(('/bin/sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 600'),"
        f" {ENV!r}, 60.0))"
    )
    agent = subprocess.Popen([sys.executable, "-c", script])
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    agent.kill()
    agent.wait()
    wait_until(lambda: is_gone(pid))


def is_gone(file: Path) -> bool:
    """The process whose number stands there."""
    try:
        return ") Z " in Path(f"/proc/{file.read_text().strip()}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Any) -> None:
    while not condition():
        os.sched_yield()
