"""Do the agent's promises hold whatever happens in whatever order?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.builders import DEVICES, SECOND_NS, a_node, an_end, an_order, ordered, started
from penstock_contracts.leases import PREPARE, RUN, STOP, Exited, LeaseOrder, Released
from penstock_contracts.work import Input, Output, Secret
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Clear, Finish, Ready, Spawn
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import OVER, State, check
from penstock_node_agent.core.usage import next_batch

ORDERS = [
    *(
        an_order(devices=(f"D{n % 4}",), gpu_milli=milli)
        for n, milli in enumerate((1000, 250, 500))
    ),
    an_order(devices=("D0", "D1")),
    an_order(),
    an_order(ranks=2, rank=0, phase=PREPARE),
    an_order(devices=("D2",), outputs=(Output(path="o", target="object:o"),), disconnect_s=60),
    an_order(ranks=2, rank=0, phase=PREPARE, secrets=(Secret(name="s", env="S"),)),
    an_order(inputs=(Input(source="object:i", path="i"),), devices=("D3",)),
]
ACTS = (
    *("order", "began", "cut", "usage", "readied", "finished") * 4,
    *("ended", "port", "logs", "cleared", "restart", "ready") * 2,
    *("drop", "stop", "full", "half_ended", "gone", "lost", "reports"),
    *("unreadied", "withheld", "stopping", "sick", "reboot"),
)
Step = tuple[str, int, int]


class Story:
    """Plays acts on a state as an honest scheduler, reaper and broker would cause them."""

    def __init__(self) -> None:
        self.state = a_node()
        self.journal: list[events.AnyEvent] = []
        self.now_ns = 10 * SECOND_NS
        self.published: dict[str, Any] = {}
        self.boots: dict[str, str] = {}
        self.exits: list[Exited] = []
        self.told: list[Any] = []
        self.full_slots: set[int] = set()
        self.readying: set[str] = set()
        self.finishing: set[str] = set()
        self.spawned: set[str] = set()
        self.dropped: set[str] = set()

    def play(self, act: str, which: int, wait_ms: int) -> None:
        self.now_ns += wait_ms * 1_000_000 + 1
        order = ORDERS[which % len(ORDERS)]
        event: events.AnyEvent | None = getattr(self, f"_{act}")(order)
        if event is not None:
            self.take(event)

    def take(self, event: events.AnyEvent) -> None:
        self.journal.append(event)
        for instruction in handle(self.state, event):
            if isinstance(instruction, Clear):
                self.full_slots.add(instruction.slot)
            elif isinstance(instruction, Ready):
                self.readying.add(instruction.key)
            elif isinstance(instruction, Finish):
                self.finishing.add(instruction.key)
            elif isinstance(instruction, Spawn):
                assert not self.state.leases[instruction.key].unready
                self.spawned.add(instruction.key)
        check(self.state)

    def _next(self, *orders: LeaseOrder, **changes: Any) -> events.Ordered:
        event = ordered(*orders, as_of=self.state.as_of + 1, **changes)
        return events.Ordered(at_ns=self.now_ns, desired=event.desired)

    def _order(self, order: LeaseOrder) -> events.AnyEvent | None:
        if order.key in self.dropped:
            return None  # a lease is granted once
        lease = self.state.leases.get(order.key)
        phase = RUN if lease is not None and lease.stage == "prepared" else order.phase
        return self._next(msgspec.structs.replace(order, phase=phase))

    def _drop(self, order: LeaseOrder) -> events.AnyEvent:
        self.dropped.add(order.key)
        return self._next(dropped=(order.key,))

    def _stop(self, order: LeaseOrder) -> events.AnyEvent | None:
        if order.key not in self.state.leases:
            return None
        return self._next(msgspec.structs.replace(order, phase=STOP, stop_reason="cancelled"))

    def _full(self, order: LeaseOrder) -> events.AnyEvent:
        """Everything that is held, but for one."""
        self.dropped.add(order.key)
        held = self.state.held_keys()
        rest = [each for each in ORDERS if each.key in held and each.key not in self.dropped]
        return self._next(*rest, full=True)

    def _began(self, order: LeaseOrder) -> events.AnyEvent | None:
        known = order.key in self.spawned and order.key in self.state.spools
        return events.Began(at_ns=self.now_ns, key=order.key) if known else None

    def _ended(self, order: LeaseOrder) -> events.AnyEvent | None:
        known = order.key in self.spawned and order.key in self.state.spools
        return an_end(order, at_ns=self.now_ns, out_bytes=3) if known else None

    def _half_ended(self, order: LeaseOrder) -> events.AnyEvent | None:
        known = order.key in self.spawned and order.key in self.state.spools
        return an_end(order, at_ns=self.now_ns, gone_ns=None) if known else None

    def _gone(self, order: LeaseOrder) -> events.AnyEvent | None:
        lease = self.state.leases.get(order.key)
        ended = lease is not None and lease.stage == "ended"
        return events.Gone(at_ns=self.now_ns, key=order.key) if ended else None

    def _lost(self, order: LeaseOrder) -> events.AnyEvent | None:
        known = order.key in self.spawned and order.key in self.state.spools
        return an_end(order, at_ns=self.now_ns, reason="lost", code=None) if known else None

    def _readied(self, order: LeaseOrder, **changes: Any) -> events.AnyEvent | None:
        if order.key not in self.readying:
            return None
        self.readying.remove(order.key)
        return events.Readied(at_ns=self.now_ns, key=order.key, **changes)

    def _unreadied(self, order: LeaseOrder) -> events.AnyEvent | None:
        blame = "job" if self.now_ns % 2 else "node"
        return self._readied(order, code="no_such_file", message="none", blame=blame)

    def _finished(self, order: LeaseOrder, **changes: Any) -> events.AnyEvent | None:
        if order.key not in self.finishing:
            return None
        if not changes:
            self.finishing.remove(order.key)
        return events.Finished(at_ns=self.now_ns, key=order.key, **changes)

    def _withheld(self, order: LeaseOrder) -> events.AnyEvent | None:
        return self._finished(order, held={"D0": "400 MiB in use"})

    def _stopping(self, order: LeaseOrder) -> events.AnyEvent:
        return events.NodeStopping(at_ns=self.now_ns)

    def _sick(self, order: LeaseOrder) -> events.AnyEvent:
        sick = msgspec.structs.replace(DEVICES[3], healthy=False)
        return events.DevicesSeen(at_ns=self.now_ns, devices=(*DEVICES[:3], sick))

    def _reboot(self, order: LeaseOrder) -> events.AnyEvent:
        self.spawned.clear()
        self._restart(order)
        return started(at_ns=self.now_ns, boot_id=f"B{self.now_ns}")

    def _cut(self, order: LeaseOrder) -> events.AnyEvent:
        return events.SegmentsCut(at_ns=self.now_ns)

    def _port(self, order: LeaseOrder) -> events.AnyEvent:
        return events.PortFound(at_ns=self.now_ns, key=order.key, port=21_000)

    def _reports(self, order: LeaseOrder) -> events.AnyEvent:
        self.exits += [item for item in self.state.reports if isinstance(item, Exited)]
        self.told += self.state.reports
        return events.ReportsDelivered(count=len(self.state.reports))

    def _usage(self, order: LeaseOrder) -> events.AnyEvent | None:
        batch = next_batch(self.state, self.now_ns)
        if batch is None:
            return None
        for segment in batch.segments:
            self.boots[segment.id] = batch.boot_id
            assert self.published.setdefault(segment.id, segment) == segment
        former = bool(self.state.former)
        return events.UsageDelivered(count=0 if former else len(batch.segments), former=former)

    def _logs(self, order: LeaseOrder) -> events.AnyEvent:
        return events.LogsDelivered(key=order.key, stream="stdout", offset=3)

    def _ready(self, order: LeaseOrder) -> events.AnyEvent:
        living = (key for key, each in self.state.leases.items() if each.stage != OVER)
        known = tuple(key for key in living if key in self.spawned)
        return events.ReaperReady(at_ns=self.now_ns, keys=known)

    def _restart(self, order: LeaseOrder) -> events.AnyEvent:
        self.readying.clear()  # what was under way ends with the agent
        self.finishing.clear()
        return started(at_ns=self.now_ns)

    def _cleared(self, order: LeaseOrder) -> events.AnyEvent | None:
        return events.SlotCleared(slot=self.full_slots.pop()) if self.full_slots else None


steps = st.tuples(st.sampled_from(ACTS), st.integers(0, 8), st.integers(0, 90_000))


@pytest.mark.lesson(18)
@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=60))
def test_two_accounts_agree_and_a_replay_is_the_same_state(acts: list[Step]) -> None:
    story = Story()
    for act in acts:
        story.play(*act)
    for _ in range(10):
        story.play("usage", 0, 1)
    used: dict[str, int] = {}
    for segment in story.published.values():
        if story.boots[segment.id] != story.state.boot_id:
            continue
        for uuid in segment.devices:
            took = (segment.t1_ms - segment.t0_ms) * segment.gpu_milli
            used[uuid] = used.get(uuid, 0) + took
    for uuid, counter in story.state.counters.items():
        assert counter.running_milli_ms == used.get(uuid, 0)
    replayed = a_node()
    for event in story.journal:
        handle(replayed, msgspec.json.decode(msgspec.json.encode(event), type=events.AnyEvent))
    assert replayed == story.state
    assert msgspec.json.decode(msgspec.json.encode(story.state), type=State) == story.state


@pytest.mark.lesson(18)
@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=60))
def test_every_exit_names_its_segments_and_is_the_same_when_told_again(acts: list[Step]) -> None:
    story = Story()
    for act in acts:
        story.play(*act)
    for _ in range(10):
        story.play("usage", 0, 1)
    story.play("reports", 0, 1)
    told: dict[tuple[int, int], Exited] = {}
    for exit_ in story.exits:
        assert told.setdefault((exit_.lease_seq, exit_.rank), exit_) == exit_
    for exit_ in story.exits:
        mine = [each for each in story.published.values() if each.lease_seq == exit_.lease_seq]
        assert sorted(segment.seq for segment in mine) == list(range(exit_.segments))
        for segment in mine:
            assert segment.t0_ms <= segment.t1_ms


TO_THE_END = ("readied", "began", "ended", "gone", "finished", "logs", "cleared")


@pytest.mark.lesson(1)
@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=60))
def test_whatever_happens_every_lease_comes_to_its_end_and_is_released_after_it(
    acts: list[Step],
) -> None:
    story = Story()
    for act in acts:
        story.play(*act)
    story.play("restart", 0, 1)
    story.play("ready", 0, 1)
    for which in range(len(ORDERS)):
        story.play("drop", which, 1)
    for name in TO_THE_END * 2:
        for which in range(len(ORDERS)):
            story.play(name, which, 1)
    story.play("reports", 0, 1)
    assert not story.state.leases and not story.state.spools and not story.readying
    tale = [item for item in story.told if isinstance(item, Exited | Released)]
    first: dict[int, list[type]] = {}
    for item in tale:
        first.setdefault(item.lease_seq, []).append(type(item))
    for kinds in first.values():
        assert kinds[:2] == [Exited, Released], "the end first, then the release"
