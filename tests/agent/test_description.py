"""Is what a node offers said as soon as it is known, and once?"""

from __future__ import annotations

from agent.builders import started
from penstock_contracts.leases import Described
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State

CAN = {"offers": ("users", "memory_limit"), "facts": {"cgroups": "version 2"}}


def said(state: State) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Offers and facts of every description that is owed."""
    described = [item.description for item in state.reports if isinstance(item, Described)]
    return [(each.offers, each.facts) for each in described]


def test_a_node_offers_what_its_agent_found_and_what_its_reaper_can() -> None:
    state = State(node="n1")
    handle(state, started(offers=("containers",), facts={"podman": "4.3"}))
    assert said(state) == [((), {"podman": "4.3"})], "it is not known yet who would run them"
    handle(state, events.ReaperReady(at_ns=2, **CAN))
    both = ("containers", "memory_limit", "users"), {"podman": "4.3", "cgroups": "version 2"}
    assert said(state)[1:] == [both]
    handle(state, events.ReaperReady(at_ns=3, **CAN))
    assert len(said(state)) == 2, "the same is not said again"


def test_an_agent_that_starts_again_says_at_once_what_its_reaper_can() -> None:
    state = State(node="n1")
    handle(state, started())
    handle(state, events.ReaperReady(at_ns=2, **CAN))
    handle(state, started(at_ns=3))
    assert said(state) == [(("memory_limit", "users"), {"cgroups": "version 2"})]


def test_a_reaper_that_can_less_takes_its_offers_back() -> None:
    state = State(node="n1")
    handle(state, started(offers=("containers",)))
    handle(state, events.ReaperReady(at_ns=2, **CAN))
    handle(state, events.ReaperReady(at_ns=3, facts={"cgroups": "none"}))
    assert said(state)[-1] == (("containers",), {"cgroups": "none"})


def test_a_reaper_that_outlived_an_upgrade_is_given_no_containers() -> None:
    state = State(node="n1")
    handle(state, started(offers=("containers", "fractions")))
    handle(state, events.ReaperReady(at_ns=2))
    assert state.described is not None and state.described.offers == ("fractions",)
