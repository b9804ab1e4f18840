"""Does a simulated host tell what really ran on it, whatever befalls it at whichever step?

The real agent and reaper of one host against a scripted scheduler over the in-memory bus.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from agent.builders import BASE_MS, an_order
from agent.scripted import Mesh
from penstock_bus.memory import connect
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Outage
from penstock_contracts.ids import ulid
from penstock_contracts.leases import Exited, LeaseOrder, NodeDesired, Released
from tests.checkers.history import History, Run
from tests.simulation.host import SimulatedHost
from tests.simulation.host_programs import content_of
from tests.simulation.kernel import Kernel
from tests.simulation.workload import Script

DEVICE = "SIM-n1-0"
SCRIPT = Script(run_s=75, exit_code=3, out_bytes=5_000, err_bytes=100)
JOB, OTHER_JOB = ulid(BASE_MS, 1), ulid(BASE_MS, 2)
LOOK_S = 0.5
WORLD_S_MAX = 1_000.0
STEPS = 70
"""More than an agent takes from its start until all of one job is told."""
REAPER_STEPS = 12
MS_NS = 1_000_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What agents log about faults that were asked for is of no use here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Story:
    """One order on one host, and another after a reboot. `strike` is called once the world has
    begun, before the order."""

    def __init__(
        self,
        strike: Callable[[Story], None] = lambda story: None,
        *,
        script: Script = SCRIPT,
        afterwards: Script | None = None,
        seed: int = 1,
    ) -> None:
        self.kernel = Kernel(seed)
        self.history = History()
        broker = MemoryBroker(lambda: self.kernel.now_ns, rng=self.kernel.rng, sync_always=True)
        self.host = SimulatedHost(self.kernel, broker, self.history, "n1", gpus=4)
        self.order = an_order(command=script.command(), devices=(DEVICE,), lease_seq=1, job_id=JOB)
        self.other: LeaseOrder | None = None
        if afterwards is not None:
            self.other = an_order(
                command=afterwards.command(), tenant="else", lease_seq=10**6, job_id=OTHER_JOB
            )
        self.mesh: Any = None
        self._broker = broker
        scheduler = self.kernel.spawn("scheduler", lambda: self._schedule(strike))
        self.kernel.loop.run_until(lambda: not scheduler.alive, WORLD_S_MAX)
        self.error = scheduler.error
        self.host.lose_power()
        self.kernel.close()
        assert self.error is None and scheduler.code == 0, f"not at an end: {self.error!r}"
        assert not self.host.crashes and not self.kernel.bugs

    async def _schedule(self, strike: Callable[[Story], None]) -> int:
        """Order what is held, as often as it takes, for the boot it was granted in; drop it once
        it is released."""
        self.mesh = Mesh(await connect(self._broker, name="scheduler"))
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
        self.mesh.hear()
        return 0

    async def _hold(self, order: LeaseOrder, as_of: int) -> int:
        """Until it is released, or the boot is another."""
        boot_id = self.mesh.descriptions[-1].boot_id
        while not self.mesh.has(order, "Released"):
            if self.mesh.descriptions[-1].boot_id != boot_id:
                break
            as_of += 1
            await self._tell(as_of, boot_id, (order,))
            await self._look()
        return as_of

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_S)
        self.mesh.hear()

    async def _tell(self, as_of: int, boot_id: str, leases: tuple[LeaseOrder, ...]) -> None:
        with suppress(Outage):
            await self.mesh.send(
                NodeDesired(as_of=as_of, full=True, leases=leases, boot_id=boot_id)
            )

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


def test_a_job_is_told_as_it_was() -> None:
    Story().assert_told_as_it_was()


def test_two_worlds_of_one_seed_are_the_same() -> None:
    assert Story().history == Story().history


def test_an_agent_killed_before_any_step_changes_nothing() -> None:
    for step in range(1, STEPS):
        Story(lambda story, step=step: story.host.kill_agent(step)).assert_told_as_it_was()


def test_an_agent_killed_and_killed_again_changes_nothing() -> None:
    def strike(story: Story, every: int) -> None:
        story.host.kill_agent(every)
        story.kernel.loop.call_later(3.0, strike_later, story, every)

    def strike_later(story: Story, every: int) -> None:
        if story.kernel.loop.time() < 120:
            strike(story, every)

    for every in (5, 17, 31, 40):
        Story(lambda story, every=every: strike(story, every)).assert_told_as_it_was()


def test_a_reaper_killed_before_any_step_runs_nothing_twice() -> None:
    lost = told = 0
    for step in range(1, REAPER_STEPS):
        story = Story(
            lambda story, step=step: story.kernel.loop.call_later(0.1, story.host.kill_reaper, step)
        )
        if story.runs and story.runs[0].waited:
            story.assert_told_as_it_was()
            told += 1
        elif story.told(Exited).reason == "lost":
            story.assert_lost()
            lost += 1
        else:
            story.assert_told_as_it_was()
            told += 1
    assert lost and told


def test_power_lost_at_any_moment_leaves_nothing_running_and_nothing_invented() -> None:
    for tenths in range(1, 1_000, 37):

        def strike(story: Story, after_s: float = tenths / 10) -> None:
            loop = story.kernel.loop
            loop.call_later(after_s, story.host.lose_power)
            loop.call_later(after_s + 20.0, story.host.boot)

        story = Story(strike)
        assert len(story.runs) <= 1, "an order names its boot"
        for run in story.runs:
            assert run.ended_ns is not None
        ends = [item for item in story.mesh.story(story.order) if isinstance(item, Exited)]
        for end in ends:
            assert end.reason == "lost" or end.exit_code == story.runs[0].exit_code


def test_no_output_is_told_as_anothers_though_power_is_lost() -> None:
    first, second = Script(run_s=3, out_bytes=300), Script(run_s=3, out_bytes=150)

    def strike(story: Story, after_s: float) -> None:
        loop = story.kernel.loop
        loop.call_later(after_s, story.host.lose_power)
        loop.call_later(after_s + 3.0, story.host.boot)

    for tenths in range(2, 70, 2):
        story = Story(
            lambda story, after_s=tenths / 10: strike(story, after_s),
            script=first,
            afterwards=second,
            seed=tenths,
        )
        written = {run.job_id: run.output["stdout"] for run in story.runs}
        for order in (story.order, story.other):
            told = story.mesh.text(order, "stdout")
            assert written.get(order.job_id, b"").startswith(told)


def test_a_full_disk_delays_and_loses_nothing() -> None:
    for after_s in (0.2, 1.0, 30.0, 74.0, 76.0):

        def strike(story: Story, after_s: float = after_s) -> None:
            disk, loop = story.host.disk, story.kernel.loop
            loop.call_later(after_s, setattr, disk, "full", True)
            loop.call_later(after_s + 100.0, setattr, disk, "full", False)

        story = Story(strike)
        (run,) = story.runs
        end = story.told(Exited)
        assert (end.reason, end.exit_code) == ("exited", 3)
        assert story.mesh.text(story.order, "stdout") == run.output["stdout"]


def test_a_suspended_host_goes_on_where_it_was_and_counts_the_time() -> None:
    def strike(story: Story) -> None:
        story.kernel.loop.call_later(20.0, story.host.suspend)
        story.kernel.loop.call_later(320.0, story.host.resume)

    story = Story(strike)
    story.assert_told_as_it_was()
    assert story.told(Exited).at_ms - story.told(Exited).started_ms >= 375_000
