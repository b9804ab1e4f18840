"""How are many worlds run side by side?

Each seed in a process forked from one that has imported everything, a few at a time. It does not
know what a world is.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import IO

import msgspec

from penstock_inventory import reception
from penstock_metering import deriving
from penstock_metering.budgets import keeper as budget_keeper
from penstock_node_agent.devices import idle_tests
from penstock_scheduler.core.packing.policies import DEFAULT
from penstock_scheduler.warming import load_machine_code
from tests.checkers.history import Violation
from tests.simulation.ledger import empty_ledger
from tests.simulation.run import Result, run_seed
from tests.simulation.world import Size

SEED_S_MAX = 600
PUSH_AGAIN_S, HELD_AGAIN_S, SETTLE_S, DERIVE_S = 45.0, 20.0, 20.0, 150.0
"""Slower than production's, which hardly ever have anything to do: an hour is long."""
SEED_BYTES_MAX = 6 * 1024**3
"""A world that grows without end fails alone: it would take the machine with it."""


def seeds_of(text: str) -> list[int]:
    """`1-3,7` as [1, 2, 3, 7]; raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


class Campaign:
    """Forks a process for each seed; `close` at the end."""

    def __init__(self, size: Size, *, workers: int, faults_max: int | None = None) -> None:
        self.size, self.faults_max = size, faults_max
        self._workers = max(1, workers)
        self.template = empty_ledger()
        self._running: dict[int, tuple[int, IO[bytes]]] = {}
        load_machine_code(DEFAULT)
        gc.freeze()

    def run(self, seeds: Sequence[int]) -> Iterator[Result]:
        """In the order in which they end."""
        waiting = list(reversed(seeds))
        while waiting or self._running:
            while waiting and len(self._running) < self._workers:
                self._start(waiting.pop(), self.faults_max)
            yield self._next()

    def run_one(self, seed: int, faults_max: int | None) -> Result:
        """One seed with another number of faults; others that run meanwhile keep their results."""
        pid = self._start(seed, faults_max)
        _, status = os.waitpid(pid, 0)
        return self._result(pid, status)

    def close(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.template.unlink(missing_ok=True)
        self.template.parent.rmdir()

    def _start(self, seed: int, faults_max: int | None) -> int:
        answer = tempfile.TemporaryFile()  # noqa: SIM115 - read and closed when the child has ended
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be_child(seed, faults_max, answer)
        self._running[pid] = (seed, answer)
        return pid

    def _be_child(self, seed: int, faults_max: int | None, answer: IO[bytes]) -> None:
        """Never returns: what a killed process of the world had suspended must not be unwound."""
        signal.alarm(SEED_S_MAX)
        reception.PUSH_AGAIN_S, idle_tests.HELD_AGAIN_S = PUSH_AGAIN_S, HELD_AGAIN_S
        budget_keeper.SETTLE_S, deriving.PACE_S = SETTLE_S, DERIVE_S
        resource.setrlimit(resource.RLIMIT_AS, (SEED_BYTES_MAX, resource.RLIM_INFINITY))
        logging.disable(logging.CRITICAL)
        gc.disable()
        try:
            result, _ = run_seed(seed, self.template, size=self.size, faults_max=faults_max)
            answer.write(msgspec.json.encode(result))
        except BaseException:  # noqa: BLE001 - told to the parent, whatever it is
            answer.write(msgspec.json.encode(_broken(seed, traceback.format_exc())))
        answer.flush()
        os._exit(0)

    def _next(self) -> Result:
        return self._result(*os.wait())

    def _result(self, pid: int, status: int) -> Result:
        seed, answer = self._running.pop(pid)
        with answer:
            answer.seek(0)
            data = answer.read()
        if not data:
            return _broken(seed, f"its process {_end(status)}")
        return msgspec.json.decode(data, type=Result)


def _end(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"ended with {os.WEXITSTATUS(status)} and no result"
    if os.WTERMSIG(status) == signal.SIGALRM:
        return f"had not ended after {SEED_S_MAX} s"
    return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"


def _broken(seed: int, why: str) -> Result:
    return Result(
        seed=seed,
        ok=False,
        violations=(Violation(code="simulation_broke", sentence=why),),
        jobs=0, runs=0, faults=0, virtual_s=0, steps=0, digest="", cpu_s=0,
    )  # fmt: skip
