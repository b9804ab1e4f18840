"""What is said of the node beyond its devices?

What the agent has found itself and what its reaper offers; said anew when it is other than before.
It does not know how either was found out.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.leases import Described
from penstock_node_agent.core.state import State


def offers_of(state: State) -> tuple[str, ...]:
    return tuple(sorted({*state.own_offers, *state.reaper_offers}))


def facts_of(state: State) -> dict[str, str]:
    return {**state.own_facts, **state.reaper_facts}


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
