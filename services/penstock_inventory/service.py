"""How does inventory live?

Wiring: the journaled service around the fleet, heartbeats into presence, a clock that has silence
judged, commands answered once committed. It does not decide anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from penstock_bus.authority import AuthorityUnusable, NatsAuthority
from penstock_bus.nats import connect
from penstock_bus.port import Bus, Message
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.joining import NodeRevoked
from penstock_contracts.nodes import ALIVE, LOST, SUSPECT, NodeFact, NodeRemoved
from penstock_contracts.streams import OWNERS, READERS
from penstock_inventory.answers import accept, answer_audit, answer_node, answer_nodes, refuse
from penstock_inventory.authority import Authority
from penstock_inventory.config import Config
from penstock_inventory.core.events import Doubted
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.core.presence import Presence
from penstock_inventory.messages import Inbox
from penstock_inventory.reception import Reception
from penstock_runtime.clock import Clock, SystemClock
from penstock_runtime.config import ConfigError
from penstock_runtime.health import Health
from penstock_runtime.journaled import Committed, Input, JournaledService, new_id
from penstock_runtime.leadership import Holder, this_process
from penstock_runtime.logs import configure_logging
from penstock_runtime.metrics import Metric, event_counts
from penstock_runtime.pace import Pace
from penstock_runtime.process import StopSignal, run_service

JUDGE_S = 0.25
STALLED_NS = 1_000_000_000
"""A judge who comes this late was frozen or starved himself: heartbeats may wait unread."""


class Inventory:
    """One instance, active or standing by."""

    def __init__(
        self,
        bus: Bus,
        *,
        clock: Clock,
        suspect_after_ms: int = 3_000,
        lost_after_ms: int = 10_000,
        snapshot_every: int = 20_000,
        judge_s: float = JUDGE_S,
        pace: Pace | None = None,
        new_id: Callable[[], str] = new_id,
        identify: Callable[[str], Holder] = this_process,
        authority: Authority | None = None,
    ) -> None:
        """`authority` None: no host can join, and none is put out."""
        self.inbox = Inbox()
        self.presence = Presence(suspect_after_ms=suspect_after_ms, lost_after_ms=lost_after_ms)
        self._bus = bus
        self._clock = clock
        self._judge_s = judge_s
        self._judged_ns = clock.monotonic_ns()
        self._heartbeats = 0
        self.service = JournaledService(
            bus,
            name="inventory",
            stream="NODES",
            subject=f"{ROOT}.journal.nodes",
            fact_type=NodeFact,
            core_factory=Fleet,
            inputs=(Input("DESCRIPTIONS", self.inbox.description),),
            clock=clock,
            new_id=new_id,
            on_commit=self._on_commit,
            on_recovered=self._on_recovered,
            on_raised=self._on_raised,
            snapshot_every=snapshot_every,
            owns=[stream for stream, owner in OWNERS.items() if owner == "inventory"],
            readers=READERS,
            identify=identify,
            pace=pace,
        )
        self.reception = Reception(self.service, bus, clock, authority, lambda: self.fleet)
        self.service.listen(f"{ROOT}.node.*.heartbeat", self._hear)
        self.service.listen(f"{ROOT}.command.node.*.*", self._obey)
        for what, handler in {
            "nodes": lambda message: answer_nodes(
                self.fleet, self.service.last_seq, self._seen_age_ms, message
            ),
            "node": lambda message: answer_node(self.fleet, self._seen_age_ms, message),
            "audit": lambda _: answer_audit(self.fleet, self.service.last_seq),
        }.items():
            self.service.answer(f"{ROOT}.query.inventory.{what}", handler)

    @property
    def fleet(self) -> Fleet:
        """The core that is active now."""
        core = self.service.core
        if not isinstance(core, Fleet):
            raise TypeError("inventory's service holds a foreign core")
        return core

    async def run(self, stop: StopSignal) -> int:
        """Lives until stopped or another takes over; returns the exit code."""
        beside = [
            asyncio.ensure_future(task) for task in (self._judge_for_ever(), self.reception.keep())
        ]
        try:
            return await self.service.run(stop)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    # -- who is heard ------------------------------------------------------------------------------
    def _hear(self, message: Message) -> None:
        node = self.inbox.heartbeat(message)
        if node is None:
            return
        self._heartbeats += 1
        if not self.presence.hear(node, self._clock.monotonic_ns()):
            self.inbox.counters["heartbeats_of_strangers"] += 1

    async def _judge_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._judge_s)
            self.judge()

    def judge(self) -> None:
        """Turn silence and return into events, unless we ourselves could not have heard."""
        now_ns = self._clock.monotonic_ns()
        stalled = now_ns - self._judged_ns >= STALLED_NS + int(self._judge_s * 1e9)
        self._judged_ns = now_ns
        if self.service.phase != "active":
            return
        if stalled or not self._bus.connected:
            self.presence.grant_grace(now_ns)
            return
        for event in self.presence.judge(self.fleet.nodes, now_ns):
            self.service.offer(event)

    def _seen_age_ms(self, node: str) -> int | None:
        return self.presence.age_ms(node, self._clock.monotonic_ns())

    # -- what is committed -------------------------------------------------------------------------
    def _on_recovered(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self.presence.match(self.fleet.nodes, now_ns)
        self.presence.grant_grace(now_ns)
        self.reception.tell_revoked()

    def _on_raised(self) -> None:
        self.service.offer(Doubted())

    def _on_commit(self, entry: Committed) -> None:
        nodes, now_ns = self.fleet.nodes, self._clock.monotonic_ns()
        for fact in entry.facts:
            name = fact.description.node if hasattr(fact, "description") else fact.node
            self.presence.match_one(name, nodes.get(name), now_ns)
            if isinstance(fact, NodeRevoked | NodeRemoved):
                self.reception.tell_revoked()

    # -- commands ----------------------------------------------------------------------------------
    def _obey(self, message: Message) -> None:
        command = self.inbox.command(message)
        if isinstance(command, Refusal):
            self._bus.respond_nowait(message, refuse(command))
            return
        before = self.fleet.view(command.node, self._seen_age_ms(command.node))

        def answer(entry: Committed | None) -> None:
            view = self.fleet.view(command.node, self._seen_age_ms(command.node))
            if entry is None:
                refusal = self.fleet.refusal_of(command)
                if refusal is not None:
                    self._bus.respond_nowait(message, refuse(refusal))
                    return
            if view is None and before is not None:  # removed: shown as it was, but nobody
                view = msgspec.structs.replace(before, key="", revoked=False)
            if view is None:
                refusal = Refusal("unknown_node", f"There is no node {command.node}.", "node")
                self._bus.respond_nowait(message, refuse(refusal))
            else:
                self._bus.respond_nowait(message, accept(view))

        if not self.service.submit_nowait(command, answer):
            busy = Refusal("unavailable", "Inventory takes no commands now; try again.")
            self._bus.respond_nowait(message, refuse(busy))

    # -- numbers -----------------------------------------------------------------------------------
    def metrics(self) -> Iterator[Metric]:
        """For Prometheus."""
        counted = Counter(node.liveness for node in self.fleet.nodes.values())
        for liveness in (ALIVE, SUSPECT, LOST):
            yield Metric(
                "penstock_inventory_nodes", "gauge", "Nodes by liveness.",
                counted[liveness], {"liveness": liveness},
            )  # fmt: skip
        yield Metric(
            "penstock_inventory_journal_seq", "gauge", "Newest committed entry of NODES.",
            self.service.last_seq,
        )  # fmt: skip
        yield Metric(
            "penstock_inventory_heartbeats", "counter", "Heartbeats heard.", self._heartbeats
        )
        yield from event_counts(
            "inventory", self.service.count(), self.inbox.counters + self.reception.counters
        )


def serve(config: Config) -> int:
    """Inventory's process."""
    configure_logging("inventory", config.log_level)

    async def main(stop: StopSignal) -> int:
        authority = _authority(config)
        bus = await connect(
            config.nats_url,
            name="penstock-inventory",
            credentials=str(config.nats_creds) if config.nats_creds else None,
        )
        inventory = Inventory(
            bus,
            clock=SystemClock(),
            suspect_after_ms=config.suspect_after_ms,
            lost_after_ms=config.lost_after_ms,
            snapshot_every=config.snapshot_every,
            pace=config.pace(),
            authority=authority,
        )
        health = Health(why_not_ready=inventory.service.why_not_ready)
        health.metrics.add(inventory.metrics)
        await health.start(
            config.http_host, config.http_port, tls_cert=config.tls_cert, tls_key=config.tls_key
        )
        try:
            return await inventory.run(stop)
        finally:
            await health.stop()
            await bus.close()

    return run_service(main, "inventory")


def _authority(config: Config) -> NatsAuthority | None:
    if config.authority is None:
        return None
    try:
        return NatsAuthority(config.authority, config.nats_url, lambda: time.time_ns() // 10**9)
    except AuthorityUnusable as error:
        raise ConfigError(f"setting authority: {error}") from error
