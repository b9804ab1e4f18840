"""Who holds the jobs on one NVIDIA device to their parts of it?

The control daemon of NVIDIA's multi-process service (https://docs.nvidia.com/deploy/mps): started
here, or taken over from an agent before, and started again when it has ended. It outlives the
agent, and ends with the node's work. Each job with a part is limited by its environment, so it is
held to it by mistake only, not by malice. It does not know who gets which part.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Mapping

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.work import FRACTIONS
from penstock_node_agent.programs import Run

PROGRAM = "nvidia-cuda-mps-control"
ASK_S = 5.0
START_S = 10.0
CHECK_S = 30.0
MILLI_PER_PERCENT = 10
FACT = "mps"
PIPE_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"

log = logging.getLogger(__name__)


class Mps:
    """`directory`: of its pipes, which jobs must be able to reach; another for every agent."""

    def __init__(self, run: Run, environment: Mapping[str, str], directory: str) -> None:
        self._run, self.directory = run, directory
        self._environment = {
            **environment,
            PIPE_VARIABLE: directory,
            "CUDA_MPS_LOG_DIRECTORY": directory,
        }
        self.running = False
        self._fault = "not started"

    @property
    def offers(self) -> tuple[str, ...]:
        """Enforced parts, while the daemon runs."""
        return (FRACTIONS,) if self.running else ()

    @property
    def facts(self) -> dict[str, str]:
        return {FACT: "runs" if self.running else f"none: {self._fault}"}

    async def open(self) -> None:
        """Have it run, if it can."""
        self.running = await self._answers() or await self._start()
        log.info("enforced fractions: %s", self.facts[FACT])

    async def keep(self, tell: Callable[[], None]) -> None:
        """Look after it until cancelled; `tell` when it has ended, or runs again."""
        while True:
            await asyncio.sleep(CHECK_S)
            before, self.running = self.running, await self._answers()
            if not self.running:
                self.running = await self._start()
            if self.running != before:
                log.warning("enforced fractions: %s", self.facts[FACT])
                tell()

    async def end(self) -> None:
        """Nothing uses it any more."""
        if self.running:
            self.running = False
            await self._ask("quit")

    def environment(
        self, order: LeaseOrder, memory_mib: Callable[[str], int | None]
    ) -> dict[str, str]:
        """What limits the job to its part of each of its devices; nothing for whole ones.
        `memory_mib`: a device's memory, None = unknown, of which the job then gets as it asks."""
        if not self.running or not order.devices or order.gpu_milli >= GPU_MILLI_WHOLE:
            return {}
        found = {
            PIPE_VARIABLE: self.directory,
            "CUDA_MPS_LOG_DIRECTORY": self.directory,
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(max(1, order.gpu_milli // MILLI_PER_PERCENT)),
        }
        limits = [
            f"{place}={limit}M"
            for place, uuid in enumerate(order.devices)
            if (limit := _share_mib(order, memory_mib(uuid))) is not None
        ]
        if limits:
            found["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = ",".join(limits)
        return found

    async def _answers(self) -> bool:
        return self._may_run() and await self._ask("get_server_list")

    def _may_run(self) -> bool:
        """Its file is there, where the documents say that it lies."""
        return os.path.exists(f"{self.directory}/{PROGRAM}.pid")

    async def _start(self) -> bool:
        try:
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
        except OSError as error:
            self._fault = f"{self.directory}: {error.strerror}"
            return False
        if shutil.which(PROGRAM, path=self._environment.get("PATH")) is None:
            self._fault = f"{PROGRAM} is not there"
            return False
        ran = await self._run((PROGRAM, "-d"), self._environment, START_S, daemon=True)
        if ran.code == 0 and await self._answers():
            return True
        self._fault = ran.last_line or f"{PROGRAM} does not answer"
        return False

    async def _ask(self, word: str) -> bool:
        ran = await self._run((PROGRAM,), self._environment, ASK_S, f"{word}\n")
        return ran.code == 0


def _share_mib(order: LeaseOrder, memory_mib: int | None) -> int | None:
    """What it has asked for; else as much of the memory as of the device."""
    if order.gpu_memory_mib is not None or memory_mib is None:
        return order.gpu_memory_mib
    return memory_mib * order.gpu_milli // GPU_MILLI_WHOLE
