"""What do orders of any kind do to an agent?

The decoder, the judgement and the core of the agent, with every event written to and read back from
a line of its journal. What is not taken changes nothing; what is taken leaves a state that does not
contradict itself. It does not know the disk or the reaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from agent.builders import an_order
from fuzz.mutation import Given
from fuzz.runner import Violation, check_size
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import LeaseRenewal, NodeDesired, NodeReport
from penstock_contracts.nodes import Device
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import changes, handle, judge
from penstock_node_agent.core.state import State, check

NODE, BOOT = "n1", "boot-1"
NOW_NS = 5_000_000_000
WALL_MS = 1_800_000_000_000
encode = msgspec.json.encode
_desired = msgspec.json.Decoder(NodeDesired)
_renewal = msgspec.json.Decoder(LeaseRenewal)
_event: Any = msgspec.json.Decoder(events.AnyEvent)
_state = msgspec.json.Decoder(State)


def prepared() -> bytes:
    """An agent that holds a lease in each stage."""
    state = State(node=NODE)
    devices = tuple(Device(uuid=f"GPU-{i}", index=i, model="H100") for i in range(4))
    started = events.AgentStarted(
        at_ns=1,
        wall_ms=WALL_MS,
        boot_id=BOOT,
        cpu_milli=64_000,
        memory_mib=1 << 18,
        devices=devices,
    )
    handle(state, started)
    handle(state, events.ReaperReady(at_ns=2))
    orders = valid_orders()
    handle(state, events.Ordered(at_ns=3, desired=NodeDesired(as_of=7, full=True, leases=orders)))
    for order in orders[:2]:
        handle(state, events.Began(at_ns=4, key=order.key))
    handle(state, events.Ended(at_ns=5, key=orders[1].key, reason="exited", code=0))
    return encode(state)


def valid_orders() -> tuple[Any, ...]:
    return (
        an_order(lease_seq=5, devices=("GPU-0",)),
        an_order(lease_seq=6, devices=("GPU-1",)),
        an_order(lease_seq=7, devices=("GPU-2",), ranks=2, phase="prepare"),
    )


class Orders:
    name = "agent orders"
    messages = ("node_desired", "node_renewal", "node_audit")
    pure = False

    def __init__(self) -> None:
        self._prepared = prepared()
        orders = valid_orders()
        self.words: Sequence[str | int] = (
            *(order.key for order in orders), *(order.job_id for order in orders), "prepare", "run",
            "stop", "GPU-0", "GPU-3", "GPU-9", "acme", BOOT, "boot-0", "cancelled", 0, 1, 4, 5, 6,
            7, 8, 9, 1_000,
        )  # fmt: skip
        self.reset()

    def reset(self) -> None:
        self.state = _state.decode(self._prepared)

    def digest(self) -> object:
        return encode(self.state)

    def valid(self) -> Sequence[Given]:
        running, ended, gang = valid_orders()
        fresh = an_order(lease_seq=9, devices=("GPU-3",), env={"A": "b"}, time_limit_s=60)
        stop = msgspec.structs.replace(running, phase="stop", stop_reason="cancelled")
        start = msgspec.structs.replace(gang, phase="run")
        desired = [
            NodeDesired(as_of=9, base=7, leases=(fresh,), dropped=(ended.key,), boot_id=BOOT),
            NodeDesired(as_of=9, base=7, leases=(stop, start)),
            NodeDesired(as_of=9, full=True, leases=(running, gang, fresh)),
            NodeDesired(as_of=9, full=True),
        ]
        return [
            *(Given(f"{ROOT}.node.{NODE}.desired", encode(wanted)) for wanted in desired),
            Given(f"{ROOT}.node.{NODE}.renewal", encode(LeaseRenewal(7))),
            Given(f"{ROOT}.node.{NODE}.audit", b"{}"),
        ]

    def give(self, given: Given) -> bool:
        what = given.subject.rpartition(".")[2]
        if what == "desired":
            return self._order(given.payload)
        if what == "renewal":
            try:
                return _renewal.decode(given.payload).sent_boot_ns >= 0
            except MALFORMED:
                return False
        if what == "audit":
            self._take(events.SegmentsCut(at_ns=NOW_NS))
            return True
        return False

    def _order(self, payload: bytes) -> bool:
        try:
            desired = _desired.decode(payload)
        except MALFORMED:
            return False
        if not judge(self.state, desired).ok:
            return False
        before = self.state.as_of
        if changes(self.state, desired):
            self._take(events.Ordered(at_ns=NOW_NS, desired=desired))
        if self.state.as_of < before:
            raise Violation(f"the agent went back from {before} to {self.state.as_of}")
        return True

    def _take(self, event: events.AnyEvent) -> None:
        """Handle it, as live and as after a restart."""
        if _event.decode(encode(event)) != event:
            raise Violation(f"the journal does not say what happened: {event}")
        handle(self.state, event)
        check(self.state)
        if _state.decode(encode(self.state)) != self.state:
            raise Violation("a snapshot does not hold the state")
        report = NodeReport(NODE, BOOT, tuple(self.state.reports[:500]))
        check_size("a report", encode(report))
