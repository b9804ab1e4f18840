"""Does work with a `disconnect_s` begin or go on after the mesh may have given it up?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.builders import SECOND_NS, a_node, an_end, an_order
from penstock_contracts.leases import (
    PREPARE,
    STOP,
    Exited,
    LeaseOrder,
    NodeDesired,
    Released,
    Rendezvous,
)
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Spawn
from penstock_node_agent.core.machine import changes, handle, judge
from penstock_node_agent.core.state import Lease, State
from penstock_node_agent.core.turns import is_overdue
from penstock_node_agent.reaper.attempts import Attempt, attempt_of

DISCONNECT_S = 30
MARGIN_S = 5
"""What the scheduler adds before it gives an attempt up."""


def desired_at(
    at_s: float, *orders: LeaseOrder, heard_s: float, as_of: int = 1, **changed: Any
) -> events.Ordered:
    """Taken by the agent at `at_s`; sent when a heartbeat of `heard_s` was the last one heard."""
    changed.setdefault("full", True)
    desired = NodeDesired(
        as_of=as_of, leases=orders, heard_boot_ns=round(heard_s * SECOND_NS), **changed
    )
    return events.Ordered(at_ns=round(at_s * SECOND_NS), desired=desired)


def limited(**fields: Any) -> LeaseOrder:
    return an_order(disconnect_s=DISCONNECT_S, grace_s=10, **fields)


def test_an_order_is_begun_while_contact_lasts_and_waits_for_a_fresh_one_when_it_does_not() -> None:
    fresh, late, order = a_node(), a_node(), limited()
    assert handle(fresh, desired_at(119, order, heard_s=100)) == [Spawn(order.key)]
    assert handle(late, desired_at(120, order, heard_s=100)) == [], "its grace begins at 120 s"
    assert (fresh.held_keys(), late.held_keys()) == ([order.key], []), "it asks for it again"
    assert handle(late, desired_at(121, order, heard_s=120.5)) == [Spawn(order.key)]
    assert late.held_keys() == [order.key]


def test_an_order_of_somebody_who_has_heard_nothing_yet_waits_to_be_told_again() -> None:
    state, order = a_node(), limited()
    unheard = events.Ordered(
        at_ns=90 * SECOND_NS, desired=NodeDesired(as_of=1, full=True, leases=(order,))
    )
    assert handle(state, unheard) == [] and state.held_keys() == []
    assert handle(state, desired_at(91, order, heard_s=90.9)) == [Spawn(order.key)]


def test_what_set_no_limit_to_silence_begins_however_old_its_order_is() -> None:
    state, order = a_node(), an_order()
    assert handle(state, desired_at(9_000, order, heard_s=0)) == [Spawn(order.key)]


def test_an_order_that_was_given_up_while_it_waited_ends_without_having_run() -> None:
    state, order = a_node(), limited()
    handle(state, desired_at(300, order, heard_s=20))
    stop = msgspec.structs.replace(order, phase=STOP, stop_reason="ended", begun=True)
    assert handle(state, desired_at(301, stop, heard_s=300.5, as_of=2)) == []
    told = [item for item in state.reports if isinstance(item, Exited | Released)]
    assert [type(item) for item in told] == [Exited, Released]
    assert isinstance(told[0], Exited) and told[0].started_ms is None


def test_a_gang_prepares_in_time_and_does_not_run_on_an_order_that_came_too_late() -> None:
    state, order = a_node(), limited(ranks=2, rank=1, phase=PREPARE)
    handle(state, desired_at(100, order, heard_s=99))
    assert state.held_keys() == [order.key], "what prepares is where it should be"
    run = msgspec.structs.replace(order, phase="run", rendezvous=Rendezvous("10.0.0.2", 21_000))
    assert handle(state, desired_at(121, run, heard_s=101, as_of=2)) == []
    assert state.held_keys() == []
    assert handle(state, desired_at(123, run, heard_s=122, as_of=2)) == [Spawn(order.key)]


def test_a_device_that_becomes_free_too_late_begins_nothing_before_a_fresh_order() -> None:
    state = a_node()
    before, order = an_order(devices=("D0",)), limited(devices=("D0",))
    handle(state, desired_at(100, before, order, heard_s=99))
    handle(state, events.Began(at_ns=101 * SECOND_NS, key=before.key))
    assert handle(state, desired_at(110, before, order, heard_s=109, as_of=2)) == []
    freed = handle(state, an_end(before, at_ns=200 * SECOND_NS))
    assert Spawn(order.key) not in freed
    assert handle(state, desired_at(201, order, heard_s=200, as_of=3)) == [Spawn(order.key)]


def test_contact_in_the_future_counts_as_now() -> None:
    state, order = a_node(), limited()
    handle(state, desired_at(100, order, heard_s=10**6))
    assert state.leases[order.key].contact_ns == 100 * SECOND_NS


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 100), st.integers(0, 100), st.integers(-2, 2))
def test_agent_and_reaper_agree_until_when_an_order_is_begun(
    disconnect_s: int, grace_s: int, off_ns: int
) -> None:
    order = an_order(disconnect_s=disconnect_s, grace_s=grace_s)
    request = {"key": order.key, "out": "", "err": "", "contact_ns": 0, "limit_s": None}
    attempt = attempt_of({**request, "disconnect_s": disconnect_s, "grace_s": grace_s}, 0)
    due_ns = attempt.due_ns()
    assert due_ns is not None
    at_ns = due_ns + off_ns
    lease = Lease(key=order.key, order=order, received_ns=at_ns, contact_ns=0)
    assert is_overdue(lease, at_ns) == bool(attempt.refusal(at_ns)) == (off_ns >= 0)


# -- a host, its reaper and a scheduler, and what lies unread between them -------------------------


class World:
    """One lease with a `disconnect_s`, just granted; with `taken`, behind one without on the same
    device. Messages arrive in order, but whenever; the agent and the reaper read whenever. Times
    are in seconds of one clock."""

    def __init__(self, *, taken: bool) -> None:
        self.now = 1_000.0
        self.state: State = a_node()
        self.first = an_order(devices=("D0",), lease_seq=10**6)
        self.order = limited(devices=("D0",), lease_seq=10**6 + 1)
        self.contact = self.pushed = self.now
        self.heard = 0.0
        self.given_up = False
        self.first_over = not taken
        self.as_of = self.state.as_of
        self.unread: list[tuple[str, Any]] = []
        self.for_reaper: list[tuple[str, float]] = []
        self.known: Attempt | None = None
        self.running = False
        self.play("beat", 0)
        self.play("send", 0)

    def play(self, act: str, seconds: float) -> None:
        getattr(self, f"_{act}")(seconds)
        silent_s = self.now - max(self.contact, self.pushed)
        self.given_up |= silent_s > DISCONNECT_S + MARGIN_S

    def _ns(self) -> int:
        return round(self.now * SECOND_NS)

    # -- time and the mesh
    def _wait(self, seconds: float) -> None:
        self.now += seconds

    def _beat(self, seconds: float) -> None:
        """It was sent `seconds` ago at most."""
        sent = max(self.heard, self.now - seconds)
        self.contact, self.heard = self.now, sent
        self.unread.append(("renewal", sent))

    def _send(self, seconds: float) -> None:
        """All that stands now."""
        self.as_of += 1
        self.pushed = self.now
        order = self.order
        if self.given_up:
            order = msgspec.structs.replace(order, phase=STOP, stop_reason="ended", begun=True)
        orders = (order,) if self.first_over else (self.first, order)
        desired = NodeDesired(
            as_of=self.as_of,
            full=True,
            leases=orders,
            heard_boot_ns=round(self.heard * SECOND_NS),
        )
        self.unread.append(("desired", desired))

    def _lose(self, seconds: float) -> None:
        del self.unread[:1]

    # -- the host
    def _read(self, seconds: float) -> None:
        """The agent reads one message, or all there are."""
        for _ in range(len(self.unread) if seconds else 1):
            self._read_one()

    def _read_one(self) -> None:
        if not self.unread:
            return
        what, message = self.unread.pop(0)
        if what == "renewal":
            self.for_reaper.append(("renew", message))
        elif judge(self.state, message).ok and changes(self.state, message):
            self._take(events.Ordered(at_ns=self._ns(), desired=message))

    def _restart(self, seconds: float) -> None:
        """The agent has come back to its reaper."""
        keys = (self.order.key,) if self.known is not None else ()
        begun = (self.first.key,) if not self.first_over else ()
        self._take(events.ReaperReady(at_ns=self._ns(), keys=keys + begun))

    def _free(self, seconds: float) -> None:
        if self.first.key in self.state.leases and not self.first_over:
            self.first_over = True
            self._take(events.Began(at_ns=self._ns(), key=self.first.key))
            self._take(an_end(self.first, at_ns=self._ns()))

    def _take(self, event: events.AnyEvent) -> None:
        for instruction in handle(self.state, event):
            if instruction == Spawn(self.order.key):
                contact_ns = self.state.leases[self.order.key].contact_ns
                self.for_reaper.append(("spawn", contact_ns))

    def _reap(self, seconds: float) -> None:
        """The reaper reads all that is there, starts what may be started, and stops what may not go
        on."""
        spawned = False
        for what, value in self.for_reaper:
            if what == "renew" and self.known is not None:
                self.known.renew(round(value * SECOND_NS), self._ns())
            elif what == "spawn" and self.known is None:
                request = {
                    "key": self.order.key,
                    "out": "",
                    "err": "",
                    "grace_s": 10,
                    "limit_s": None,
                }
                request |= {"disconnect_s": DISCONNECT_S, "contact_ns": int(value)}
                self.known, spawned = attempt_of(request, self._ns()), True
        self.for_reaper.clear()
        if self.known is not None and self.known.refusal(self._ns()):
            self.running = False
        elif spawned:
            self.running = True
        assert not (self.running and self.given_up)


ACTS = ("wait", "beat", "send", "read", "reap") * 3 + ("lose", "restart", "free")
steps = st.tuples(st.sampled_from(ACTS), st.sampled_from((0, 0, 1, 6, 19, 36)))


@pytest.mark.lesson(13)
@settings(max_examples=800, deadline=None)
@given(st.lists(steps, min_size=12, max_size=30), st.booleans())
def test_nothing_begins_or_goes_on_that_was_given_up_whatever_lay_unread_where(
    acts: list[tuple[str, int]], taken: bool
) -> None:
    world = World(taken=taken)
    for act in acts:
        world.play(*act)
