"""What is said of the node beyond its devices?

What the agent has found itself and what its reaper offers; said anew when it is other than before.
It does not know how either was found out.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.leases import Described
from penstock_contracts.nodes import NO_NEW_WORK
from penstock_contracts.work import CONTAINERS
from penstock_node_agent.core.events import Closed
from penstock_node_agent.core.instructions import Instruction
from penstock_node_agent.core.state import State


def offers_of(state: State) -> tuple[str, ...]:
    """A reaper that outlived an upgrade and says nothing of itself would run a container's command
    on the host."""
    found = {*state.own_offers, *state.reaper_offers}
    return tuple(sorted(found if state.reaper_facts else found - {CONTAINERS}))


def facts_of(state: State) -> dict[str, str]:
    facts = {**state.own_facts, **state.reaper_facts}
    return {**facts, NO_NEW_WORK: "; ".join(state.closed.values())} if state.closed else facts


def closed(state: State, event: Closed, todo: list[Instruction]) -> None:
    if event.reason:
        state.closed[event.code] = event.reason
    else:
        state.closed.pop(event.code, None)
    describe_anew(state)


def refusal_of(state: State) -> tuple[str, str] | None:
    """Why nothing new is taken: code and sentence."""
    return next(iter(state.closed.items()), None)


def describe_anew(state: State) -> None:
    """Say what has changed; in place of what was not sent yet."""
    described = state.described
    if described is None:
        return
    offers, facts = offers_of(state), facts_of(state)
    if (described.offers, described.facts) == (offers, facts):
        return
    state.described = msgspec.structs.replace(described, offers=offers, facts=facts)
    state.reports.append(Described(state.described))
