"""What comes of one order on one simulated host?

The real agent and reaper against a scripted scheduler over the in-memory bus. It does not know what
befalls the host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from agent.builders import BASE_MS, an_order
from agent.scripted import Mesh
from penstock_bus.memory import connect
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Outage
from penstock_contracts.ids import ulid
from penstock_contracts.leases import STOP, Exited, LeaseOrder, NodeDesired, Released
from penstock_contracts.work import Container
from tests.checkers.history import History, Run
from tests.simulation.host import SimulatedHost
from tests.simulation.host_programs import content_of
from tests.simulation.kernel import Kernel
from tests.simulation.terrain import plain_ground
from tests.simulation.workload import Script

DEVICE = "SIM-n1-0"
SCRIPT = Script(run_s=75, exit_code=3, out_bytes=5_000, err_bytes=100)
JOB, OTHER_JOB = ulid(BASE_MS, 1), ulid(BASE_MS, 2)
LOOK_S = 0.5
READ_S = 5.0
"""What was stored last reaches a reader within it, on a bad network too."""
WORLD_S_MAX = 1_000.0
MARGIN_S = 5.0
"""Beyond its `disconnect_s` an order is given up."""
MS_NS = 1_000_000


class Story:
    """One order on one host, and another after a reboot. `strike` is called once the world has
    begun, before the order. `image`: the order is for a container of it."""

    def __init__(
        self,
        strike: Callable[[Story], None] = lambda story: None,
        *,
        script: Script = SCRIPT,
        afterwards: Script | None = None,
        disconnect_s: int | None = None,
        image: str = "",
        seed: int = 1,
    ) -> None:
        self.kernel = Kernel(seed)
        self.history = History()
        self.broker = broker = MemoryBroker(
            lambda: self.kernel.now_ns, rng=self.kernel.rng, sync_always=True
        )
        ground = msgspec.structs.replace(plain_ground("n1", 4), podman=bool(image))
        self.host = SimulatedHost(self.kernel, broker, self.history, "n1", ground)
        self.order = an_order(
            command=script.command(),
            devices=(DEVICE,),
            lease_seq=1,
            job_id=JOB,
            disconnect_s=disconnect_s,
            container=Container(image=image) if image else None,
        )
        self.given_up = False
        self._heard, self._heard_s = 0, 0.0
        self.other: LeaseOrder | None = None
        if afterwards is not None:
            self.other = an_order(
                command=afterwards.command(), tenant="else", lease_seq=10**6, job_id=OTHER_JOB
            )
        self.mesh: Any = None
        scheduler = self.kernel.spawn("scheduler", lambda: self._schedule(strike))
        self.kernel.loop.run_until(lambda: not scheduler.alive, WORLD_S_MAX)
        self.error = scheduler.error
        self.host.lose_power()
        scheduler.kill()
        assert self.error is None and scheduler.code == 0, f"not at an end: {self.error!r}"
        assert not self.kernel.crashes and not self.kernel.bugs

    async def _schedule(self, strike: Callable[[Story], None]) -> int:
        """Order what is held, as often as it takes, for the boot it was granted in; drop it once
        it is released."""
        self.mesh = Mesh(await connect(self.broker, name="scheduler"))
        await self.mesh.open()
        self.host.boot()
        strike(self)
        while not self.mesh.descriptions:
            await self._look()
        as_of = await self._hold(self.order, 0)
        if self.other is not None:
            as_of = await self._hold(self.other, as_of)
        while True:
            state = self.host.state()
            if not (state.leases or state.spools or state.usage or state.reports):
                break
            as_of += 1
            await self._tell(as_of, "", ())
            await self._look()
        await asyncio.sleep(READ_S)
        self.mesh.hear()
        return 0

    async def _hold(self, order: LeaseOrder, as_of: int) -> int:
        """Until it is released, or the boot is another."""
        boot_id = self.mesh.descriptions[-1].boot_id
        while not self.mesh.has(order, "Released"):
            if self.mesh.descriptions[-1].boot_id != boot_id:
                break
            if order.disconnect_s is None or self._hears(order.disconnect_s):
                as_of += 1
                await self._tell(as_of, boot_id, (self._standing(order),))
            await self._look()
        return as_of

    def _hears(self, disconnect_s: int) -> bool:
        """Whether there are new heartbeats; after too long a silence the order is given up."""
        now_s, beats = self.kernel.loop.time(), len(self.mesh.beats)
        self.given_up |= now_s - self._heard_s > disconnect_s + MARGIN_S
        if beats == self._heard:
            return False
        self._heard, self._heard_s = beats, now_s
        return True

    def _standing(self, order: LeaseOrder) -> LeaseOrder:
        if not self.given_up:
            return order
        return msgspec.structs.replace(order, phase=STOP, stop_reason="ended", begun=True)

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_S)
        self.mesh.hear()

    async def _tell(self, as_of: int, boot_id: str, leases: tuple[LeaseOrder, ...]) -> None:
        heard = [beat.sent_boot_ns for beat in self.mesh.beats if beat.boot_id == boot_id]
        desired = NodeDesired(
            as_of=as_of,
            full=True,
            leases=leases,
            boot_id=boot_id,
            heard_boot_ns=heard[-1] if heard else 0,
        )
        with suppress(Outage):
            await self.mesh.send(desired)

    # -- what came of it -----------------------------------------------------------------------
    @property
    def runs(self) -> list[Run]:
        return self.history.runs

    def told(self, kind: type) -> Any:
        found = [item for item in self.mesh.story(self.order) if isinstance(item, kind)]
        assert len(found) == 1, self.mesh.story(self.order)
        return found[0]

    def assert_told_as_it_was(self) -> None:
        """One run; its exit code, instants, output and segments as they were."""
        (run,) = self.runs
        end = self.told(Exited)
        assert (run.exit_code, end.exit_code, end.reason) == (3, 3, "exited")
        assert (run.devices, run.lease_seq, run.waited) == ((DEVICE,), 1, True)
        ran_ms = (run.ended_boot_ns - run.began_boot_ns) / MS_NS
        assert abs(end.at_ms - end.started_ms - ran_ms) <= 1
        for stream, size in (("stdout", 5_000), ("stderr", 100)):
            assert run.output[stream] == content_of(run, stream, size)
            assert self.mesh.text(self.order, stream) == run.output[stream]
        segments = sorted(self.mesh.segments.values(), key=lambda segment: segment.seq)
        assert len(segments) == end.segments
        assert (segments[0].t0_ms, segments[-1].t1_ms) == (end.started_ms, end.at_ms)

    def assert_lost(self) -> None:
        """It ran once at most, its end is not guessed, and nothing of it was left when told so."""
        assert len(self.runs) <= 1
        end = self.told(Exited)
        self.told(Released)
        assert (end.reason, end.exit_code, end.signal) == ("lost", None, None)
        for run in self.runs:
            assert run.ended_by in ("leftover", "itself") and not run.waited
