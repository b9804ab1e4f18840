"""When is silence long enough, and when is a node back?"""

from __future__ import annotations

from typing import Any

import pytest

from inventory.builders import a_description, a_fleet
from penstock_contracts.nodes import ALIVE, LOST, SUSPECT, NodeLivenessChanged, NodeRegistered
from penstock_inventory.core.events import Returned, Silent
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.core.presence import Presence

SECOND = 1_000_000_000


class Watch:
    """A presence over one fleet, with its own time."""

    def __init__(self, *names: str) -> None:
        self.fleet: Fleet = a_fleet(*(NodeRegistered(a_description(name)) for name in names))
        self.presence = Presence(suspect_after_ms=3_000, lost_after_ms=10_000)
        self.presence.match(self.fleet.nodes, 0)

    def hear(self, *at_s: float, node: str = "n1") -> None:
        for instant in at_s:
            self.presence.hear(node, int(instant * SECOND))

    def judge(self, at_s: float) -> list[Any]:
        return list(self.presence.judge(self.fleet.nodes, int(at_s * SECOND)))

    def become(self, liveness: str, at_s: float) -> None:
        self.fleet.apply(NodeLivenessChanged("n1", liveness, ""), 9, 0)
        self.presence.match_one("n1", self.fleet.nodes["n1"], int(at_s * SECOND))


@pytest.mark.lesson(12)
def test_a_node_is_suspect_after_three_seconds_and_lost_after_ten() -> None:
    watch = Watch("n1")
    watch.hear(1)
    assert watch.judge(3.9) == []
    assert watch.judge(4) == [Silent("n1", SUSPECT, 3_000)]
    watch.become(SUSPECT, 4)
    assert watch.judge(10.9) == []
    assert watch.judge(11) == [Silent("n1", LOST, 10_000)]
    watch.become(LOST, 11)
    assert watch.judge(60) == []


def test_what_is_not_committed_is_said_again() -> None:
    watch = Watch("n1")
    watch.hear(0)
    assert watch.judge(4) == watch.judge(4) != []


@pytest.mark.lesson(12)
def test_one_heartbeat_does_not_bring_a_node_back_but_two_in_a_row_do() -> None:
    watch = Watch("n1")
    watch.become(LOST, 20)
    watch.hear(30)
    assert watch.judge(30.5) == []
    watch.hear(34)
    assert watch.judge(34.5) == [], "the second came too late after the first"
    watch.hear(35)
    assert watch.judge(35.2) == [Returned("n1")]
    watch.become(ALIVE, 35.2)
    assert watch.judge(35.5) == []


def test_a_flapping_node_must_earn_its_return_each_time() -> None:
    watch = Watch("n1")
    watch.become(SUSPECT, 4)
    watch.hear(5, 6)
    watch.become(ALIVE, 6)
    watch.hear(7)
    watch.become(SUSPECT, 10)
    watch.hear(11)
    assert watch.judge(11) == []


@pytest.mark.lesson(12)
def test_after_a_take_over_every_node_has_a_fresh_grace() -> None:
    watch = Watch("n1", "n2")
    watch.hear(1)
    watch.presence.grant_grace(100 * SECOND)
    assert watch.judge(102) == []
    assert {event.node for event in watch.judge(103)} == {"n1", "n2"}


def test_the_age_is_unknown_until_this_process_has_heard_the_node() -> None:
    watch = Watch("n1")
    assert watch.presence.age_ms("n1", SECOND) is None
    watch.hear(2)
    assert watch.presence.age_ms("n1", int(2.5 * SECOND)) == 500
    watch.presence.grant_grace(3 * SECOND)
    assert watch.presence.age_ms("n1", 4 * SECOND) is None
    assert watch.presence.age_ms("other", 4 * SECOND) is None


def test_heartbeats_of_strangers_are_told_apart_and_leave_no_trace() -> None:
    watch = Watch("n1")
    assert watch.presence.hear("stranger", SECOND) is False
    assert watch.presence.hear("n1", SECOND) is True
    assert "stranger" not in {event.node for event in watch.judge(100)}


def test_a_removed_node_is_forgotten() -> None:
    watch = Watch("n1")
    watch.presence.match_one("n1", None, SECOND)
    assert watch.presence.hear("n1", SECOND) is False
    watch.presence.match({}, SECOND)
    assert watch.judge(100) == []
