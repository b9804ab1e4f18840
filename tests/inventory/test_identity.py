"""Can a node be taken for another, or a dead one for alive, because of where it is reached?"""

from __future__ import annotations

from typing import Any

import pytest

from inventory.builders import a_description, a_fleet, a_heartbeat, as_heartbeat
from penstock_contracts.nodes import ALIVE, LOST, NodeLivenessChanged, NodeRegistered
from penstock_inventory.core.events import Described, Returned
from penstock_inventory.core.presence import Presence
from penstock_inventory.messages import Inbox

SECOND = 1_000_000_000
ADDRESS = "10.0.0.7"


def a_dead_node() -> tuple[Any, Presence]:
    """n1 at ADDRESS, lost since a minute; its host is gone for good."""
    fleet = a_fleet(
        NodeRegistered(a_description("n1", advertise_address=ADDRESS)),
        NodeLivenessChanged("n1", LOST, "no heartbeat for 10 s"),
    )
    presence = Presence(suspect_after_ms=3_000, lost_after_ms=10_000)
    presence.match(fleet.nodes, 0)
    return fleet, presence


@pytest.mark.lesson(11)
def test_a_new_host_at_a_dead_hosts_address_does_not_bring_it_back() -> None:
    fleet, presence = a_dead_node()
    inbox = Inbox()
    stranger = a_description("n2", advertise_address=ADDRESS)
    for fact in fleet.decide(Described(stranger), 60 * SECOND, 3):
        fleet.apply(fact, 3, 60 * SECOND)
    presence.match(fleet.nodes, 60 * SECOND)
    for second in range(60, 100):
        heard = inbox.heartbeat(as_heartbeat("n2", a_heartbeat("n2")))
        assert heard == "n2"
        presence.hear(heard, second * SECOND)
        assert presence.judge(fleet.nodes, second * SECOND) == []
    assert fleet.nodes["n1"].liveness == LOST
    assert fleet.nodes["n2"].liveness == ALIVE
    assert presence.age_ms("n1", 100 * SECOND) is None, "nobody has heard it"


@pytest.mark.lesson(11)
def test_who_claims_a_name_that_its_subject_does_not_bear_is_not_heard() -> None:
    fleet, presence = a_dead_node()
    inbox = Inbox()
    for second in range(60, 70):
        assert inbox.heartbeat(as_heartbeat("n2", a_heartbeat("n1"))) is None
        assert presence.judge(fleet.nodes, second * SECOND) == []
    assert inbox.counters["heartbeats_misnamed"] == 10


@pytest.mark.lesson(11)
def test_a_node_that_moved_to_another_address_is_the_same_node() -> None:
    fleet, presence = a_dead_node()
    moved = a_description("n1", advertise_address="10.9.9.9")
    for fact in fleet.decide(Described(moved), 60 * SECOND, 3):
        fleet.apply(fact, 3, 60 * SECOND)
    assert list(fleet.nodes) == ["n1"]
    assert fleet.nodes["n1"].liveness == LOST, "to describe itself is not to be back"
    presence.hear("n1", 60 * SECOND)
    presence.hear("n1", 61 * SECOND)
    assert presence.judge(fleet.nodes, 61 * SECOND) == [Returned("n1")]
