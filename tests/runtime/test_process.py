"""Does a service process start, drain and end as its supervisor expects?"""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from penstock_runtime.rubbish import only_when_swept

PROGRAM = """
import asyncio, sys
from penstock_contracts.errors import InvariantError
from penstock_runtime import process
from penstock_runtime.logs import configure_logging

def fail():
    raise InvariantError("two leases")

async def main(stop):
    print("up", flush=True)
    {body}

configure_logging("test")
{setup}
sys.exit(process.run_service(main, "test"))
"""


class Service:
    """A service in a process of its own, already inside `main`."""

    def __init__(self, body: str, *, setup: str = "", ignore_sigint: bool = False) -> None:
        code = PROGRAM.format(body=body, setup=setup)
        command = [sys.executable, "-c", code]
        if ignore_sigint:
            command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def end(self, number: int | None = None, line: str = "") -> tuple[int, list[dict[str, Any]]]:
        """Send the signal and the line, and wait for exit code and log."""
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(line, timeout=20)
        return self.process.returncode, [json.loads(line) for line in errors.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_lets_the_service_drain_and_choose_its_code(number: signal.Signals) -> None:
    code, log = Service("await stop.wait(); return 75 if stop.requested else 0").end(number)
    assert code == 75
    assert any(line.get("signal") == number.name for line in log)


def test_sigint_stops_a_service_that_was_started_with_it_ignored() -> None:
    code, _ = Service("await stop.wait(); return 0", ignore_sigint=True).end(signal.SIGINT)
    assert code == 0


def test_a_second_signal_does_not_disturb_the_drain() -> None:
    drain = "await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)"
    service = Service(f"await stop.wait(); print('draining', flush=True); {drain}; return 0")
    service.process.send_signal(signal.SIGINT)
    assert service.process.stdout is not None
    assert service.process.stdout.readline() == "draining\n"
    service.process.send_signal(signal.SIGTERM)
    assert service.end(line="go on\n")[0] == 0


def test_a_drain_that_takes_too_long_is_ended_hard() -> None:
    code, log = Service(
        "await stop.wait(); await asyncio.Event().wait()", setup="process.DRAIN_S_MAX = 0.05"
    ).end(signal.SIGTERM)
    assert code == 70
    assert "did not drain" in log[-1]["msg"]


def test_a_drain_stuck_in_a_blocking_call_is_ended_hard() -> None:
    code, _ = Service(
        "await stop.wait(); __import__('threading').Event().wait()",
        setup="process.DRAIN_S_MAX = 0.05",
    ).end(signal.SIGTERM)
    assert code == 70


def test_an_unhandled_exception_is_a_logged_crash() -> None:
    code, log = Service("raise KeyError('n1')").end()
    assert code == 1
    assert log[-1]["level"] == "critical" and "KeyError: 'n1'" in log[-1]["error"]


def test_a_broken_invariant_in_a_callback_ends_the_process() -> None:
    code, log = Service("asyncio.get_running_loop().call_soon(fail); await stop.wait()").end()
    assert code == 1
    assert "InvariantError: two leases" in log[-1]["error"]


def test_another_error_in_a_callback_is_logged_and_survived() -> None:
    body = "asyncio.get_running_loop().call_soon(int, 'x'); await asyncio.sleep(0); return 0"
    code, log = Service(body).end()
    assert code == 0
    assert any("ValueError" in line.get("error", "") for line in log)


SWEPT = """
    import gc, weakref

    class Knot:
        pass

    kept = [[number] for number in range(50_000)]
    knot = Knot()
    knot.itself = knot
    gone = weakref.ref(knot)
    del knot
    while gone() is not None or gc.get_freeze_count() < len(kept):
        await asyncio.sleep(0.01)
    return 0 if gc.get_threshold()[2] > 1_000_000 else 3
"""


def test_what_lives_is_set_aside_and_rubbish_among_what_is_new_is_freed() -> None:
    setup = "from penstock_runtime import rubbish; rubbish.SWEEP_S = 0.01"
    code, _ = Service(SWEPT.strip(), setup=setup).end()
    assert code == 0


def test_python_looks_for_rubbish_as_before_once_the_service_has_ended() -> None:
    before = gc.get_threshold()
    with only_when_swept():
        assert gc.get_threshold() != before
        gc.freeze()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
