"""How is an agent killed again and again while jobs run one after another, and what must be true?

One lane of jobs a device; each job writes numbered lines and ends with a code of its own. It does
not know what kind of jobs the lanes give.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agent.accounts import assert_once, assert_segments_match_ends, assert_two_accounts_agree
from agent.builders import a_shell_order
from agent.scripted import AgentProcess, Mesh
from penstock_bus.port import NoResponders, Outage
from penstock_contracts.ids import ulid
from penstock_contracts.leases import LeaseOrder

PAUSE_S = 0.05
LINES_MAX = 40
LINE_S_MAX = 0.04
QUIET_S_MAX = 0.3


class Job(NamedTuple):
    """`tally`: where it says that it has run."""

    order: LeaseOrder
    code: int
    output: bytes
    tally: Path


Lane = Callable[[int], Job]
"""The next job of a lane, by the sequence of its grant."""


def a_lane(device: str, rng: random.Random, directory: Path, **order: Any) -> Lane:
    """Jobs that write lines to both streams; `order`: what else they want. Their ids are no other
    run's, for containers of one host are named by them."""

    def make(seq: int) -> Job:
        lines, pause, code = rng.randrange(LINES_MAX), rng.random() * LINE_S_MAX, rng.randrange(100)
        tally = directory / f"{device}-{seq}"
        script = (
            f"echo ran >>{tally}; i=0; while [ $i -lt {lines} ]; do"
            f' echo "{device} {seq} $i"; echo "$i" >&2; i=$((i+1)); sleep {pause:.3f};'
            f" done; exit {code}"
        )
        output = "".join(f"{device} {seq} {line}\n" for line in range(lines)).encode()
        job_id = ulid(time.time_ns() // 1_000_000, secrets.randbits(80))
        made = a_shell_order(script, lease_seq=seq, job_id=job_id, devices=(device,), **order)
        return Job(made, code, output, tally)

    return make


class Storm:
    """`jobs`: all that were ordered so far."""

    def __init__(
        self, mesh: Mesh, agent: AgentProcess, rng: random.Random, lanes: Sequence[Lane]
    ) -> None:
        self._mesh, self._agent, self._rng, self._lanes = mesh, agent, rng, lanes
        self.jobs: list[Job] = []
        self._current: list[Job | None] = [None for _ in lanes]
        self._blowing = True

    async def blow(self, kills: int, eventually: Any) -> None:
        """Kill the agent that often, at any moment of its life, then let everything end."""
        ordering = asyncio.ensure_future(self._keep_ordering())
        for _ in range(kills):
            if self._rng.random() < 0.7:
                await eventually(self._mesh.reachable)
            await asyncio.sleep(self._rng.random() * QUIET_S_MAX)
            self._agent.kill()
            self._agent.start()
        self._blowing = False
        await asyncio.wait_for(ordering, 120.0)

    async def _keep_ordering(self) -> None:
        """As a scheduler does: the next job of a lane once the last is released, everything sent
        again whenever it is not acknowledged; until the storm is over and all is told."""
        while self._feed() or self._blowing:
            with suppress(NoResponders, Outage):  # killed just now
                await self._mesh.order_all()
            await asyncio.sleep(PAUSE_S)

    def _feed(self) -> bool:
        """Whether anything is under way."""
        for index, lane in enumerate(self._lanes):
            job = self._current[index]
            if job is not None and self._mesh.has(job.order, "Released"):
                self._mesh.held.pop(job.order.key)
                job = self._current[index] = None
            if job is None and self._blowing:
                self._mesh.as_of += 1
                job = self._current[index] = lane(self._mesh.as_of)
                self.jobs.append(job)
                self._mesh.held[job.order.key] = job.order
        return any(self._current)

    async def assert_nothing_is_amiss(self, eventually: Any) -> None:
        mesh, orders = self._mesh, [job.order for job in self.jobs]
        assert_once(mesh, orders)
        for job in self.jobs:
            end = mesh.end(job.order)
            assert (end.reason, end.exit_code, end.signal) == ("exited", job.code, None), (
                f"{end} {mesh.text(job.order, 'stderr')[-500:]!r}"
            )
            assert end.log_bytes["stdout"] == len(job.output), "no byte is doubled on the disk"
            await eventually(lambda job=job: mesh.text(job.order, "stdout") == job.output)
            assert job.tally.read_text("ascii") == "ran\n", "no job runs twice"
        await eventually(mesh.audit)
        await eventually(lambda: len(mesh.leases_metered()) == len(orders))
        assert_segments_match_ends(mesh, orders)
        assert_two_accounts_agree(mesh)
