"""Is there another place for which somebody can pay?

What a place costs depends on its site and models. Whoever cannot pay for the best one is placed on
nodes of other prices, alternative by alternative. So nothing that closes or fills a node can make
payable what was not: only room, money and prices can. It does not know what anything costs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.charges import charge_of_cheapest, site_of
from penstock_scheduler.core.money.paying import Deal, deal_for, deal_of, stops_of
from penstock_scheduler.core.placing.placement import Placed, place_option, when_empty
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node


class PriceClass(NamedTuple):
    """Two nodes with the same cost the same."""

    site: str
    models: frozenset[str]


def place_payable(
    state: State, job: Job, shape: Shape, among: Collection[int] | None, now_ns: int
) -> tuple[Placed, Deal] | None:
    """The first place for which somebody can pay, and the deal; None = there is none now."""
    if not _differ(state) and not shape.alternatives:
        return None
    for alternative, option in enumerate((shape, *shape.alternatives)):
        if among is None or alternative in among:
            found = _of_option(state, job, shape, option, alternative, now_ns)
            if found is not None:
                return found
    return None


def _of_option(
    state: State, job: Job, shape: Shape, option: Shape, alternative: int, now_ns: int
) -> tuple[Placed, Deal] | None:
    dear: set[PriceClass] = set()
    avoid = option.avoid
    while (ranks := place_option(option, state.nodes, state.capacity)) is not None:
        placed = Placed(alternative, ranks)
        deal = deal_of(state, job, shape, placed, now_ns)
        if deal is not None:
            return placed, deal
        dear |= {class_of(state.nodes[rank.node]) for rank in ranks}
        names = (name for name, node in state.nodes.items() if class_of(node) in dear)
        option = msgspec.structs.replace(option, avoid=tuple(sorted({*avoid, *names})))
    return None


def could_pay(state: State, job: Job, shape: Shape, now_ns: int) -> bool:
    """Whether somebody could pay for it if there were room on all nodes that may take it: if not,
    room is not what it waits for."""
    stops = stops_of(state, shape)
    if not stops:
        return stops is not None
    for alternative, option in enumerate((shape, *shape.alternatives)):
        places = when_empty(option, state.capacity)
        charge = charge_of_cheapest(state, job, option, places, now_ns)
        if charge is not None and deal_for(stops, job, shape, alternative, charge) is not None:
            return True
    return False


def class_of(node: Node) -> PriceClass:
    """By what its prices may differ from those of others."""
    return PriceClass(site_of(node), frozenset(model for _, model, _ in node.image.devices))


def _differ(state: State) -> bool:
    """Whether places can cost differently at all."""
    return any(rate.site or "/" in rate.sku for rate in state.budgets.rates)
