"""A scheduler's core and agents' cores whose streams may lose their ends.

Orders and answers travel when `settle` says so; processes live until they are told to end. It
counts what really runs: on which device, and how often each lease was begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_bus.port import Message, NoResponders
from penstock_contracts.leases import LeaseOrder, NodeDesired, lease_digest
from penstock_contracts.nodes import Device, Heartbeat, NodeRegistered
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Clear, FindPort, Spawn, Stop
from penstock_node_agent.core.machine import changes, handle, judge
from penstock_node_agent.core.state import State as AgentState
from penstock_node_agent.core.state import check
from penstock_scheduler.core.events import (
    GapFound,
    JobsRequested,
    NodeChanged,
    NodeReported,
    Ticked,
)
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.telling.views import findings
from penstock_scheduler.node_links import NodeLinks
from tests.scheduler.driver import EPOCH_NS, SECOND_NS, a_job, a_node

DRAIN_ROUNDS = 240  # enough for forty gangs one after the other
GAP_ROUNDS = 5
_encode = msgspec.json.encode


class Host:
    """One agent's core and the processes on its host. `begun` counts starts by lease key."""

    def __init__(self, world: CutWorld, name: str, gpus: int) -> None:
        self.world, self.name = world, name
        self.state = AgentState(node=name)
        self.processes: dict[str, LeaseOrder] = {}
        self.begun: Counter[str] = Counter()
        self.boot = 1
        self.devices = tuple(Device(uuid=f"{name}-{i}", index=i, model="H100") for i in range(gpus))
        self.start()

    def start(self) -> None:
        """The agent begins, or begins again beside its reaper."""
        self.take(
            events.AgentStarted(
                at_ns=self.world.tick(), wall_ms=EPOCH_NS // 1_000_000, boot_id=f"boot-{self.boot}",
                cpu_milli=64_000, memory_mib=1_000_000, devices=self.devices,
            )
        )  # fmt: skip
        self.take(events.ReaperReady(at_ns=self.world.tick(), keys=tuple(self.processes)))

    def take(self, event: Any) -> None:
        for todo in handle(self.state, event):
            if isinstance(todo, Spawn):
                self.spawn(self.state.leases[todo.key].order)
            elif isinstance(todo, FindPort):
                port = events.PortFound(at_ns=self.world.tick(), key=todo.key, port=20_000)
                self.world.later.append(lambda port=port: self.take(port))
            elif isinstance(todo, Stop) and todo.key in self.processes:
                key = todo.key
                self.world.later.append(lambda key=key: self.finish(key, signal=15))
            elif isinstance(todo, Clear):
                slot = todo.slot
                self.world.later.append(lambda s=slot: self.take(events.SlotCleared(slot=s)))
        check(self.state)

    def spawn(self, order: LeaseOrder) -> None:
        self.begun[order.key] += 1
        assert self.begun[order.key] == 1, f"{order.key} runs twice under the same fence"
        for other in self.processes.values():
            both = set(other.devices) & set(order.devices)
            assert not both, f"{both} held by {other.key} and {order.key}"
        self.processes[order.key] = order
        began = events.Began(at_ns=self.world.tick(), key=order.key)
        self.world.later.append(lambda: self.take(began) if order.key in self.processes else None)

    def finish(self, key: str, signal: int | None = None) -> None:
        if self.processes.pop(key, None) is None:
            return
        at_ns = self.world.tick()
        reason = "exited" if signal is None else "cancelled"
        self.take(
            events.Ended(
                at_ns=at_ns, key=key, reason=reason, code=0 if signal is None else None,
                signal=signal, gone_ns=at_ns,
            )
        )  # fmt: skip

    def report(self) -> None:
        """Everything owed is stored and acknowledged."""
        items, count = list(self.state.reports), len(self.state.reports)
        for item in items:
            self.world.stored += 1
            report = NodeReported(self.name, self.state.boot_id, item)
            self.world.reports.append((self.world.stored, report))
        self.take(events.ReportsDelivered(count=count))

    def beat(self) -> None:
        heartbeat = Heartbeat(
            node=self.name, boot_id=self.state.boot_id, sent_boot_ns=1, as_of=self.state.as_of,
            digest=lease_digest(self.state.held_keys()),
        )  # fmt: skip
        subject = f"penstock.v1.node.{self.name}.heartbeat"
        self.world.links.hear(Message(subject, _encode(heartbeat)))


class CutWorld:
    """`journal`: the facts of each entry and the reports' cursor, which is how many were read and
    which was the last. `later`: what is on its way."""

    def __init__(self, gpus: dict[str, int]) -> None:
        self.now_ns = EPOCH_NS
        self.journal: list[tuple[list[Any], tuple[int, int]]] = []
        self.stored = 0
        self.base: tuple[int, bytes, tuple[int, int]] = (0, b"", (0, 0))
        self.reports: list[tuple[int, NodeReported]] = []
        self.cursor = (0, 0)
        self.later: list[Callable[[], None]] = []
        self.specs: list[Any] = []
        self.known_seq = 0
        self.lossy = False
        self.begin()
        for name, count in gpus.items():
            self.feed(NodeChanged(NodeRegistered(a_node(name, count))))
        self.hosts = {name: Host(self, name, count) for name, count in gpus.items()}
        self.now_ns += 10 * SECOND_NS
        self.settle()

    def tick(self) -> int:
        self.now_ns += 1_000
        return self.now_ns - EPOCH_NS

    # -- the scheduler -----------------------------------------------------------------------------
    def begin(self, damaged: int = 0) -> None:
        """A scheduler recovers from the journal, of which one entry may be damaged, and takes
        over."""
        self.core = SchedulerCore()
        first, snapshot, self.cursor = self.base
        if first:
            self.core.restore(snapshot)
        for number, (facts, cursor) in enumerate(self.journal[first:], start=first + 1):
            if damaged and number >= damaged:
                for fact in facts if number > damaged else ():
                    self.core.apply_after_gap(fact, number, self.now_ns)
                continue
            for fact in facts:
                self.core.apply(fact, number, self.now_ns)
            self.cursor = cursor
        if damaged:
            self.core.restore(self.core.snapshot())
        self.journal.append(([], self.cursor))
        self.links = NodeLinks(
            self,  # type: ignore[arg-type]
            state=lambda: self.core.state,
            seq=lambda: len(self.journal),
            now_ns=lambda: self.now_ns,
            nudge=lambda: None,
            ahead=self.raise_to,
        )
        self.links.reset()

    def raise_to(self, seq: int) -> None:
        self.known_seq = max(self.known_seq, seq)

    def feed(self, *given: object) -> None:
        if self.known_seq > len(self.journal):
            missing = self.known_seq - len(self.journal)
            self.journal += [([], self.cursor)] * missing
            self.links.reset()
        seq, new = len(self.journal) + 1, []
        for event in given:
            new += self.fold(self.core.decide(event, self.now_ns, seq), seq)
        while facts := self.core.settle(self.now_ns, seq):
            new += self.fold(facts, seq)
        if new:
            self.journal.append((new, self.cursor))
        self.links.push_changes()

    def fold(self, facts: Any, seq: int) -> list[Any]:
        for fact in facts:
            self.core.apply(fact, seq, self.now_ns)
        return list(facts)

    def submit(self, **shape: Any) -> None:
        self.specs.append(a_job(len(self.specs) + 1, **shape))
        self.request_all()

    def request_all(self) -> None:
        """REQUESTS is read again: what is known changes nothing."""
        self.feed(JobsRequested("acme", 1, tuple(self.specs)))

    def nodes_all(self) -> None:
        """NODES is read again: a node whose image was lost with an entry is known again."""
        registered = [NodeRegistered(a_node(h.name, len(h.devices))) for h in self.hosts.values()]
        self.feed(*map(NodeChanged, registered))

    def read_reports(self) -> None:
        count, mark = self.cursor
        if count > len(self.reports) or (count and self.reports[count - 1][0] != mark):
            count = 0  # what stood there is lost: all is read again
        arrived = self.reports[count:]
        self.cursor = (len(self.reports), self.reports[-1][0] if self.reports else 0)
        self.feed(*(report for _, report in arrived))

    # -- the bus -----------------------------------------------------------------------------------
    def request_nowait(
        self, subject: str, payload: bytes, on_done: Callable[[Any], None], *, timeout_s: float
    ) -> None:
        name = subject.split(".")[-2]
        desired = msgspec.json.decode(payload, type=NodeDesired)
        if self.lossy or name not in getattr(self, "hosts", {}):
            self.later.append(lambda: on_done(NoResponders("lost")))
            return
        self.later.append(lambda: self.deliver(name, desired, on_done))

    def deliver(self, name: str, desired: NodeDesired, on_done: Callable[[Any], None]) -> None:
        host = self.hosts[name]
        ack = judge(host.state, desired)
        if ack.ok and changes(host.state, desired):
            host.take(events.Ordered(at_ns=self.tick(), desired=desired))
        on_done(Message("_INBOX.x", _encode(ack)))

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        """Renewals: nobody here needs one."""

    def settle(self, rounds: int = 1) -> None:
        """What is on its way arrives, reports are read, heartbeats judged."""
        for _ in range(rounds):
            for _ in range(100):
                if not self.later:
                    break
                arriving, self.later = self.later, []
                for arrive in arriving:
                    arrive()
            for host in self.hosts.values():
                host.report()
            self.read_reports()
            for host in self.hosts.values():
                host.beat()
            self.links.judge()
            self.now_ns += SECOND_NS
            self.feed(Ticked({}, 0))

    # -- faults ------------------------------------------------------------------------------------
    def cut(self, entries: int, reports: int) -> int:
        """The broker comes back without so many of its last messages, a scheduler after it. Returns
        how many entries are left."""
        self.later = []
        self.known_seq = 0
        del self.journal[max(4, self.base[0], len(self.journal) - entries) :]
        del self.reports[max(0, len(self.reports) - reports) :]
        left = len(self.journal)
        self.begin()
        self.nodes_all()
        self.request_all()
        return left

    def damage(self, from_end: int) -> None:
        """One entry cannot be read any more when the next scheduler begins, which leaves the gap
        behind by a snapshot."""
        self.later = []
        self.known_seq = 0
        number = max(self.base[0] + 1, len(self.journal) - from_end)
        self.begin(damaged=number)
        self.base = (len(self.journal), self.core.snapshot(), self.cursor)
        self.nodes_all()
        self.request_all()
        self.settle(2)
        self.feed(GapFound())

    # -- judgement ---------------------------------------------------------------------------------
    def drain(self) -> None:
        """Faults are over: everything must come to its end by itself."""
        self.lossy = False
        for number in range(DRAIN_ROUNDS):
            self.settle()
            if number == GAP_ROUNDS:
                self.feed(GapFound())  # as some ticks after every take-over
            for host in self.hosts.values():
                for key in list(host.processes):
                    host.finish(key)
            if not self.core.state.jobs and not self.core.state.leases:
                break
        state = self.core.state
        assert not state.jobs, f"not ended: {sorted(state.jobs)}"
        assert not state.leases, f"not released: {sorted(state.leases)}"
        assert sum(state.finished.values()) == len(self.specs)
        assert findings(state) == []
        self.settle(3)
        assert not any(host.processes or host.state.leases for host in self.hosts.values())
