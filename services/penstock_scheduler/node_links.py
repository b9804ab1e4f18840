"""How does each node learn what it should hold?

One link per node remembers what was sent. Changes go out as deltas over the last message sent,
without waiting for its answer; whatever goes wrong (no answer, another base, a digest that
differs) is mended by sending everything. A lost message costs time, never truth. It does not
decide what a node should hold.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_bus.port import Bus, BusRefusal, Message, Outage
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import (
    DesiredAck,
    LeaseRenewal,
    NodeDesired,
    lease_digest,
)
from penstock_contracts.nodes import Heartbeat
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.orders.desired import changes_of, orders_of

log = logging.getLogger(__name__)

ANSWER_S = 5.0
AHEAD_MAX = 100_000
BELIEVE_NS = 60_000_000_000
AHEAD_TOTAL_MAX = 1_000_000
"""So far the journal is moved on nodes' word within this time, and in one take-over: what a power
loss loses is less, what an old backup lacks is not much more, and a node that lies has us write no
more than this."""
MISMATCHES_MAX = 2
"""Heartbeats in a row that show another state before everything is sent again."""

_encode = msgspec.json.Encoder().encode
_ack = msgspec.json.Decoder(DesiredAck)
_heartbeat = msgspec.json.Decoder(Heartbeat)


class Link(msgspec.Struct):
    """`base`: the `as_of` sent last, None = the node needs everything. `generation` tells answers
    to messages of before a full one from later ones.
    """

    base: int | None = None
    generation: int = 0
    outstanding: int = 0
    mismatches: int = 0
    digest_of: int = -1
    digest: str = ""


class NodeLinks:
    """All links of an active scheduler. `state` and `seq` give committed state when `reset`,
    `push_changes` or `judge` run; `nudge` asks that `judge` be called soon."""

    def __init__(
        self,
        bus: Bus,
        *,
        state: Callable[[], State],
        seq: Callable[[], int],
        now_ns: Callable[[], int],
        nudge: Callable[[], None],
        ahead: Callable[[int], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.contact_ns: dict[str, int] = {}
        self._pushed_ns: dict[str, int] = {}
        self._bus = bus
        self._state = state
        self._seq = seq
        self._now_ns = now_ns
        self._nudge = nudge
        self._ahead = ahead
        self._believing_ns = now_ns()
        self._believed = self._believed_ever = self._believed_seq = 0
        self._beats: dict[str, Heartbeat] = {}
        self._heard: dict[str, Heartbeat] = {}
        self._refused: set[str] = set()
        self._links: dict[str, Link] = {}
        self.told_seq = 0
        """The orders of all grants up to this entry have gone out."""

    def reset(self) -> None:
        """After a take-over, a reconnect, or a cut of the journal: renewal is assumed, every node
        is sent everything, and none gets anything new before it has answered."""
        self._links = {name: Link() for name in self._state().nodes}
        self.told_seq = self._seq()
        self._believed_seq = 0
        self.assume_contact()
        self._state().begin_to_speak()
        for name in self._links:
            self._send_all(name)

    def assume_contact(self) -> None:
        """We could not have heard anybody until now: count all silence from here."""
        self.contact_ns = dict.fromkeys(self._links, self._now_ns())

    def silence_ns(self) -> dict[str, int]:
        """For how long each node was neither heard nor given anything."""
        now_ns = self._now_ns()
        return {
            name: now_ns - max(heard_ns, self._pushed_ns.get(name, 0))
            for name, heard_ns in self.contact_ns.items()
        }

    def push_changes(self) -> None:
        """Sends what the last committed transition changed."""
        self.told_seq = self._seq()
        state = self._state()
        if not state.touches:
            return
        touched = state.touches.take()
        for name, keys in touched.items():
            link = self._links.setdefault(name, Link())
            self.contact_ns.setdefault(name, self._now_ns())
            if link.base is None:
                self._send_all(name)
            elif keys:
                orders, dropped = changes_of(state, name, keys)
                as_of = self._seq()
                self._send(name, as_of=as_of, base=link.base, leases=orders, dropped=dropped)
        for name in self._links.keys() - state.nodes.keys() - touched.keys():
            del self._links[name]
            self.contact_ns.pop(name, None)
            self._pushed_ns.pop(name, None)
            self._heard.pop(name, None)

    def hear(self, message: Message) -> None:
        """A heartbeat, at any moment: noted, and judged on committed state soon after."""
        name = message.subject.split(".")[-2]
        try:
            beat = _heartbeat.decode(message.payload)
        except MALFORMED:
            self.counters["heartbeats_undecodable"] += 1
            return
        self.contact_ns[name] = self._now_ns()
        self._beats[name] = self._heard[name] = beat
        self._nudge()

    def judge(self) -> None:
        """On committed state: renews leases, and mends what nodes hold wrongly."""
        beats, self._beats = self._beats, {}
        nodes = self._state().nodes
        for name in [name for name in beats if name not in nodes]:
            self.contact_ns.pop(name, None)
            self._heard.pop(name, None)
            del beats[name]
        for name, beat in beats.items():
            if nodes[name].leases:
                self._renew(name, beat)
            self._compare(name, beat.as_of)
            link = self._links.setdefault(name, Link())
            if link.outstanding or link.base is None or self._agrees(name, link, beat):
                link.mismatches = 0
                continue
            link.mismatches += 1
            if link.mismatches >= MISMATCHES_MAX:
                self.counters["nodes_resynced"] += 1
                link.base = None
        refused, self._refused = self._refused, set()
        for name in sorted(beats.keys() | refused):
            link = self._links.get(name, Link(base=0))
            if link.base is None and (not link.outstanding or name in refused):
                self._send_all(name)

    def _compare(self, name: str, as_of: int) -> None:
        """A node that took orders of entries which the journal does not have is no ground for a
        grant: the journal was cut, and must first go beyond them."""
        if as_of > self._seq():
            self.counters["nodes_ahead"] += 1
            self._believe(as_of)
        elif self._state().hear(name):
            self._nudge()

    def _believe(self, as_of: int) -> None:
        """Step by step, as far as nodes are believed at all."""
        now_ns = self._now_ns()
        if now_ns - self._believing_ns >= BELIEVE_NS:
            self._believing_ns, self._believed = now_ns, 0
        begin = max(self._seq(), self._believed_seq)
        step = min(as_of - begin, AHEAD_MAX - self._believed, AHEAD_TOTAL_MAX - self._believed_ever)
        if step > 0:
            self._believed += step
            self._believed_ever += step
            self._believed_seq = begin + step
            self._ahead(self._believed_seq)

    def _renew(self, name: str, beat: Heartbeat) -> None:
        state = self._state()
        leases = (state.leases[lease_id] for lease_id in state.nodes[name].leases)
        if any(lease.spec.disconnect_s is not None for lease in leases):
            self._publish(f"{ROOT}.node.{name}.renewal", _encode(LeaseRenewal(beat.sent_boot_ns)))

    def _publish(self, subject: str, payload: bytes) -> None:
        try:
            self._bus.publish_nowait(subject, payload)
        except Outage:
            self.counters["renewals_unsent"] += 1

    def _agrees(self, name: str, link: Link, beat: Heartbeat) -> bool:
        if beat.as_of != link.base:
            return False
        if link.digest_of != link.base:
            link.digest_of = link.base
            link.digest = lease_digest(orders_of(self._state(), name))
        return beat.digest == link.digest

    def _send_all(self, name: str) -> None:
        link = self._links.setdefault(name, Link())
        link.generation += 1
        link.mismatches = 0
        orders = tuple(orders_of(self._state(), name).values())
        self._send(name, as_of=self._seq(), full=True, leases=orders)

    def _send(self, name: str, **fields: Any) -> None:
        node = self._state().nodes.get(name)
        boot_id = node.image.boot_id if node is not None else ""
        if any(order.disconnect_s is not None for order in fields["leases"]):
            beat = self._heard.get(name)
            if beat is not None and beat.boot_id == boot_id:
                fields["heard_boot_ns"] = beat.sent_boot_ns
        desired = NodeDesired(boot_id=boot_id, **fields)
        link = self._links[name]
        link.base = desired.as_of
        link.outstanding += 1
        self._pushed_ns[name] = self._now_ns()
        generation = link.generation
        try:
            self._bus.request_nowait(
                f"{ROOT}.node.{name}.desired",
                _encode(desired),
                lambda answer: self._answered(name, generation, desired.full, answer),
                timeout_s=ANSWER_S,
            )
        except BusRefusal as error:  # a node that names its devices by pages
            self.counters["desired_too_large"] += 1
            log.error("%s cannot be told what it should hold: %s", name, error)
            link.outstanding -= 1
            link.base = None

    def _answered(
        self, name: str, generation: int, full: bool, answer: Message | Exception
    ) -> None:
        link = self._links.get(name)
        if link is None:
            return
        link.outstanding = max(0, link.outstanding - 1)
        if generation != link.generation:
            return
        if isinstance(answer, Exception):
            self.counters["desired_unanswered"] += 1
            link.base = None
            return
        try:
            ack = _ack.decode(answer.payload)
        except MALFORMED:
            ack = DesiredAck(0, ok=False)
        else:
            self._compare(name, ack.as_of)
        accepted = ack.ok
        if not accepted:
            self.counters["desired_refused"] += 1
            link.base = None
            if not full:  # what refuses even everything is asked again at its next heartbeat
                self._refused.add(name)
                self._nudge()
