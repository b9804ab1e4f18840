"""What does a node do whose host is not there?

The agent's real core over the real wire protocol; only the host is simulated: a program "runs" for
the seconds its command names and writes nothing, and the agent's journal is not kept on a disk. It
does not know how many others share its connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_bus.port import Appended, Bus, Message, Outage
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import Described, NodeDesired, NodeReport, lease_digest
from penstock_contracts.nodes import Device, Heartbeat
from penstock_contracts.usage import AuditReply
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Clear, FindPort, Spawn, Stop
from penstock_node_agent.core.machine import changes, handle, judge
from penstock_node_agent.core.state import RUNNING, State
from penstock_node_agent.core.usage import batch_now, next_batch

REPORT_ITEMS_MAX = 500
USAGE_SPACING_S = 0.1
RETRY_S = 1.0
SEGMENT_S = 60.0
PORT = 40_000
CPU_MILLI = 64_000
MEMORY_MIB = 512_000
DEVICE_MEMORY_MIB = 81_920

_encode = msgspec.json.Encoder().encode
_desired = msgspec.json.Decoder(NodeDesired).decode


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def devices_of(node: str, count: int, model: str) -> tuple[Device, ...]:
    return tuple(
        Device(
            uuid=f"GPU-{node}-{index:04d}-0000-000000000000",
            index=index,
            model=model,
            memory_mib=DEVICE_MEMORY_MIB,
            numa_node=index // 4,
            link_domain=f"{node}-0",
            driver_version="550.54",
        )
        for index in range(count)
    )


class SimulatedNode:
    """`joined` is set when inventory's stream holds the description. A program's first argument is
    how many seconds it runs; without one it runs until it is stopped."""

    def __init__(self, bus: Bus, name: str, *, devices: int, model: str, boot_id: str) -> None:
        self.name = name
        self.joined = False
        self.silent = False
        self.last_beat_ns = 0
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._state = State(node=name)
        self._subject = f"{ROOT}.node.{name}"
        self._messages = 0
        self._reporting = self._using = False
        self._usage_not_before = 0.0
        self._audits: list[Message] = []
        self._ending: dict[str, asyncio.TimerHandle] = {}
        self._digest_of: tuple[int, int] = (-1, -1)
        self._digest = ""
        self._begun = events.AgentStarted(
            at_ns=boottime_ns(),
            wall_ms=time.time_ns() // 1_000_000,
            boot_id=boot_id,
            cpu_milli=CPU_MILLI,
            memory_mib=MEMORY_MIB,
            devices=devices_of(name, devices, model),
            driver="simulated",
            version="benchmark",
        )

    async def listen(self) -> None:
        await self._bus.subscribe(f"{self._subject}.audit", self._on_audit)
        await self._bus.subscribe(f"{self._subject}.renewal", lambda message: None)
        await self._bus.subscribe(f"{self._subject}.desired", self._on_desired)

    def join(self) -> None:
        """Describe the node; heartbeats may begin once `joined`."""
        self._take(self._begun)
        self._take(events.ReaperReady(at_ns=boottime_ns()))

    def beat(self) -> None:
        state = self._state
        digest_of = (state.as_of, len(state.leases))
        if digest_of != self._digest_of:
            self._digest_of = digest_of
            self._digest = lease_digest(state.held_keys())
        beat = Heartbeat(
            node=self.name,
            boot_id=state.boot_id,
            sent_boot_ns=boottime_ns(),
            as_of=state.as_of,
            digest=self._digest,
            running=len(self._ending),
        )
        self.last_beat_ns = time.time_ns()
        try:
            self._bus.publish_nowait(f"{self._subject}.heartbeat", _encode(beat))
        except Outage:
            return

    def cut(self) -> None:
        """Once a minute: close the segments of what runs."""
        if any(lease.stage == RUNNING for lease in self._state.leases.values()):
            self._take(events.SegmentsCut(at_ns=boottime_ns()))

    @property
    def owes(self) -> int:
        return len(self._state.reports) + len(self._state.usage)

    # -- what happens to it ------------------------------------------------------------------------
    def _on_desired(self, message: Message) -> None:
        if self.silent:
            return
        desired = _desired(message.payload)
        ack = judge(self._state, desired)
        if ack.ok and changes(self._state, desired):
            self._take(events.Ordered(at_ns=boottime_ns(), desired=desired))
        self._bus.respond_nowait(message, _encode(ack))

    def _on_audit(self, message: Message) -> None:
        if self.silent:
            return
        self._audits.append(message)
        self._take(events.SegmentsCut(at_ns=boottime_ns()))

    def _take(self, event: events.AnyEvent) -> None:
        todo = list(handle(self._state, event))
        while todo:
            follow = _FOLLOW.get(type(todo[0]))
            instruction = todo.pop(0)
            if follow is not None:
                for caused in follow(self, instruction):
                    todo += handle(self._state, caused)
        self._report()
        self._use()

    # -- the host that is not there ----------------------------------------------------------------
    def _spawn(self, instruction: Spawn) -> list[events.AnyEvent]:
        key = instruction.key
        command = self._state.leases[key].order.command
        run_s = float(command[1]) if len(command) > 1 else 1e9
        self._ending[key] = self._loop.call_later(run_s, self._end, key)
        return [events.Began(at_ns=boottime_ns(), key=key)]

    def _end(self, key: str) -> None:
        if self._ending.pop(key, None) is not None:
            now_ns = boottime_ns()
            self._take(events.Ended(at_ns=now_ns, key=key, reason="exited", code=0, gone_ns=now_ns))

    def _stop(self, instruction: Stop) -> list[events.AnyEvent]:
        timer = self._ending.pop(instruction.key, None)
        if timer is None:
            return []
        timer.cancel()
        now_ns = boottime_ns()
        ended = events.Ended(
            at_ns=now_ns, key=instruction.key, reason=instruction.reason, signal=15, gone_ns=now_ns
        )
        return [ended]

    def _find_port(self, instruction: FindPort) -> list[events.AnyEvent]:
        return [events.PortFound(at_ns=boottime_ns(), key=instruction.key, port=PORT)]

    def _clear(self, instruction: Clear) -> list[events.AnyEvent]:
        return [events.SlotCleared(slot=instruction.slot)]

    # -- what it owes ------------------------------------------------------------------------------
    def _send(
        self, subject: str, payload: bytes, kind: str, done: Callable[[Appended], None]
    ) -> None:
        self._messages += 1
        message_id = f"{kind}/{self.name}/{self._state.boot_id}/{self._messages}"

        def send() -> None:
            self._bus.append_nowait(subject, payload, answered, message_id=message_id)

        def answered(result: Appended | Exception) -> None:
            if isinstance(result, Exception):
                self._loop.call_later(RETRY_S, send)
            else:
                done(result)

        send()

    def _report(self) -> None:
        state = self._state
        if self._reporting or not state.reports:
            return
        self._reporting = True
        first = state.reports[0]
        if isinstance(first, Described):
            subject, kind, count = f"{self._subject}.description", "description", 1
            payload = _encode(first.description)
        else:
            items = tuple(state.reports[:REPORT_ITEMS_MAX])
            subject, kind, count = f"{self._subject}.report", "report", len(items)
            payload = _encode(NodeReport(self.name, state.boot_id, items))

        def done(_: Appended) -> None:
            self._reporting = False
            self.joined = True
            self._take(events.ReportsDelivered(count=count))

        self._send(subject, payload, kind, done)

    def _use(self) -> None:
        state, now_ns = self._state, boottime_ns()
        if self._using or not (state.usage or self._audits):
            return
        wait_s = self._usage_not_before - self._loop.time()
        if wait_s > 0 and not self._audits:
            self._using = True
            self._loop.call_later(wait_s, self._use_later)
            return
        batch = next_batch(state, now_ns) or batch_now(state, now_ns)
        handle(state, events.BatchNumbered(batch=batch.batch))
        answers: list[Message] = []
        if batch.counters or not state.counters:
            answers, self._audits = self._audits, []
        self._using = True
        self._usage_not_before = self._loop.time() + USAGE_SPACING_S

        def done(stored: Appended) -> None:
            self._using = False
            for message in answers:
                reply = AuditReply(self.name, state.boot_id, stored.seq)
                self._bus.respond_nowait(message, _encode(reply))
            self._take(events.UsageDelivered(count=len(batch.segments)))

        self._send(f"{ROOT}.usage.{self.name}", _encode(batch), "usage", done)

    def _use_later(self) -> None:
        self._using = False
        self._use()


_FOLLOW: dict[type, Callable[[SimulatedNode, Any], list[events.AnyEvent]]] = {
    Spawn: SimulatedNode._spawn,
    Stop: SimulatedNode._stop,
    FindPort: SimulatedNode._find_port,
    Clear: SimulatedNode._clear,
}
