"""How does the scheduler live?

Wiring: the journaled service around the core, its four inputs, the links to nodes, the publisher
of public facts, a clock that ticks. Every effect follows a commit. It does not decide anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from penstock_bus.nats import connect
from penstock_bus.port import Bus, BusRefusal, Outage, StoredMessage
from penstock_contracts.expectations import ExpectedShape
from penstock_contracts.ids import ROOT
from penstock_contracts.journal import JobFact
from penstock_contracts.streams import OWNERS, READERS
from penstock_runtime.clock import Clock, SystemClock
from penstock_runtime.config import ConfigError
from penstock_runtime.health import Health
from penstock_runtime.journaled import Committed, Input, JournaledService, new_id
from penstock_runtime.leadership import Holder, this_process
from penstock_runtime.logs import configure_logging
from penstock_runtime.metrics import Metric, event_counts
from penstock_runtime.pace import Pace
from penstock_runtime.process import StopSignal, run_service
from penstock_scheduler import inputs
from penstock_scheduler.answers import answer_queries
from penstock_scheduler.config import Config
from penstock_scheduler.core.events import ExpectationOffered, GapFound, Nudged, Ticked
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.packing.policies import DEFAULT, POLICIES, Policy
from penstock_scheduler.core.placing.expectation import expected_shapes
from penstock_scheduler.fact_publisher import FactPublisher
from penstock_scheduler.node_links import NodeLinks
from penstock_scheduler.obeying import obey_commands
from penstock_scheduler.simulate.tables import BadTable
from penstock_scheduler.simulate.traces import read_workload
from penstock_scheduler.warming import load_machine_code

TICK_S = 1.0
STALL_S = 1.0
"""Whoever ticks this late was frozen or starved himself: heartbeats may wait unread."""
CURSOR_EVERY_TICKS = 5
FLEET_TICKS = 3
"""The fleet has settled when it has not changed for so long."""
GAP_TICKS = 5
"""After a take-over, inputs are read again for so long before what a gap has left is given up."""
OWNED = tuple(stream for stream, owner in OWNERS.items() if owner == "scheduler")
BACKLOG_FILL_MAX = 0.85
"""Share of a stream's bytes at which new submits are refused: the rest is for cancels and reports.
"""


class Scheduler:
    """One instance, active or standing by."""

    def __init__(
        self,
        bus: Bus,
        *,
        clock: Clock,
        snapshot_every: int = 20_000,
        tick_s: float = TICK_S,
        pace: Pace | None = None,
        new_id: Callable[[], str] = new_id,
        identify: Callable[[str], Holder] = this_process,
        policy: Policy = DEFAULT,
        workload: tuple[ExpectedShape, ...] | None = None,
    ) -> None:
        """`workload`: what to expect; None = it is learned."""
        self._bus = bus
        self._clock = clock
        self._tick_s = tick_s
        self._nudged = False
        self._gap_ticks = 0
        self._workload = workload
        self._fleet_ns = self._fleet_ticks = 0
        self._backlog_full = False
        self.service = JournaledService(
            bus,
            name="scheduler",
            stream="JOBS",
            subject=f"{ROOT}.journal.jobs",
            fact_type=JobFact,
            core_factory=lambda: SchedulerCore(policy),
            inputs=(
                Input("NODES", inputs.decode_nodes, reader="scheduler"),
                Input("BUDGETS", inputs.decode_budget),
                Input("REPORTS", inputs.decode_report),
                Input("REQUESTS", self._decode_request),
            ),
            clock=clock,
            new_id=new_id,
            on_commit=self._on_commit,
            on_recovered=self._on_recovered,
            on_raised=self._on_raised,
            snapshot_every=snapshot_every,
            owns=OWNED,
            readers=READERS,
            identify=identify,
            pace=pace,
        )
        self.links = NodeLinks(
            bus,
            state=self.state,
            seq=lambda: self.service.last_seq,
            now_ns=clock.monotonic_ns,
            nudge=self._nudge,
            ahead=self.service.raise_to,
        )
        self.publisher = FactPublisher(bus, last_seq=lambda: self.service.last_seq)
        bus.on_reconnect(self._on_reconnect)
        answer_queries(self.service, self.core, clock.now_ns)
        obey_commands(self.service, bus, self.state)
        self.service.listen(f"{ROOT}.node.*.heartbeat", self.links.hear)

    def core(self) -> SchedulerCore:
        """The core that is active now."""
        core = self.service.core
        if not isinstance(core, SchedulerCore):
            raise TypeError("the scheduler's service holds a foreign core")
        return core

    def state(self) -> State:
        """Its state."""
        return self.core().state

    async def run(self, stop: StopSignal) -> int:
        """Lives until stopped or another takes over; returns the exit code."""
        ticking = asyncio.ensure_future(self._tick())
        try:
            return await self.service.run(stop)
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await self.publisher.stop()

    def _decode_request(self, message: StoredMessage) -> Sequence[object]:
        wall_ms = self._clock.now_ns() // 1_000_000
        return inputs.decode_request(message, backlog_full=self._backlog_full, wall_ms=wall_ms)

    def _on_recovered(self) -> None:
        self._gap_ticks = GAP_TICKS  # whoever found a gap may have died before it was made good
        self.links.reset()
        self.publisher.start()
        self.service.offer(ExpectationOffered(self._workload))

    def _on_raised(self) -> None:
        self.links.reset()

    async def _on_reconnect(self) -> None:
        """What nodes told, and were acknowledged, may be lost with the broker's disk."""
        if self.service.phase == "active":
            self.service.submit_nowait(Nudged(), lambda _: self.links.reset())

    def _on_commit(self, entry: Committed) -> None:
        self.links.push_changes()
        self.publisher.on_commit(entry)

    def _nudge(self) -> None:
        """Has the links judged on committed state, once for all that was heard meanwhile."""
        if not self._nudged:
            self._nudged = self.service.submit_nowait(Nudged(), self._judge)

    def _judge(self, _: Committed | None) -> None:
        self._nudged = False
        self.links.judge()

    async def _tick(self) -> None:
        ticks, ticked_ns = 0, self._clock.monotonic_ns()
        stall_ns = int((self._tick_s + STALL_S) * 1e9)
        while True:
            await asyncio.sleep(self._tick_s)
            ticks += 1
            if self.service.phase != "active":
                continue
            fills = [self.service.fill(stream) or 0.0 for stream in OWNED]
            self._backlog_full = max(fills) >= BACKLOG_FILL_MAX
            now_ns = self._clock.monotonic_ns()
            if now_ns - ticked_ns >= stall_ns or not self._bus.connected:
                self.links.assume_contact()
            ticked_ns = now_ns
            self._gap_ticks -= 1
            if self._gap_ticks == 0:
                self.service.offer(GapFound())
            self._look_at_fleet()
            self.service.offer(Ticked(self.links.silence_ns(), self.links.told_seq))
            if ticks % CURSOR_EVERY_TICKS == 0:
                try:
                    await self.publisher.publish_cursor(self._clock.monotonic_ns() / 1e9)
                except (Outage, BusRefusal):
                    self.publisher.counters["cursor_unpublished"] += 1

    def _look_at_fleet(self) -> None:
        """What models are worth depends on how many there are."""
        changed_ns = self.state().fleet_changed_ns
        if changed_ns != self._fleet_ns:
            self._fleet_ns, self._fleet_ticks = changed_ns, FLEET_TICKS
        elif self._fleet_ticks:
            self._fleet_ticks -= 1
            if not self._fleet_ticks:
                self.service.offer(ExpectationOffered(self._workload))


def serve(config: Config) -> int:
    """The scheduler's process. Raises ConfigError."""
    configure_logging("scheduler", config.log_level)
    policy, workload = POLICIES[config.policy], _workload(config)

    async def main(stop: StopSignal) -> int:
        bus = await connect(
            config.nats_url,
            name="penstock-scheduler",
            credentials=str(config.nats_creds) if config.nats_creds else None,
        )
        scheduler = Scheduler(
            bus,
            clock=SystemClock(),
            snapshot_every=config.snapshot_every,
            pace=config.pace(),
            policy=policy,
            workload=workload,
        )
        health = Health(why_not_ready=scheduler.service.why_not_ready)
        health.metrics.add(lambda: _metrics(scheduler))
        await health.start(
            config.http_host, config.http_port, tls_cert=config.tls_cert, tls_key=config.tls_key
        )
        try:
            await asyncio.to_thread(load_machine_code, policy)
            return await scheduler.run(stop)
        finally:
            await health.stop()
            await bus.close()

    return run_service(main, "scheduler")


def _workload(config: Config) -> tuple[ExpectedShape, ...] | None:
    if config.workload is None:
        return None
    try:
        return expected_shapes(read_workload(config.workload))
    except BadTable as error:
        raise ConfigError(f"setting workload is wrong: {error}") from error


def _metrics(scheduler: Scheduler) -> Iterator[Metric]:
    state = scheduler.state()
    gauges = {
        "jobs_live": ("Jobs that have not ended.", len(state.jobs)),
        "jobs_waiting": ("Jobs in line.", len(state.line)),
        "leases": ("Leases whose release is not proven.", len(state.leases)),
        "nodes": ("Nodes known.", len(state.nodes)),
        "journal_seq": ("Newest committed entry of JOBS.", scheduler.service.last_seq),
    }
    for name, (description, value) in gauges.items():
        yield Metric(f"penstock_scheduler_{name}", "gauge", description, value)
    yield from event_counts(
        "scheduler",
        scheduler.service.count(),
        scheduler.links.counters,
        scheduler.publisher.counters,
        inputs.counters,
    )
