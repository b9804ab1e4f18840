"""Where do the ranks of a job go together?

All of them or none. Ranks are kept together: while one node can hold all that are left, the one
that the packer likes best takes them; else the node that holds most takes what it can. A job that
wishes its ranks near each other gets them in one domain, the fullest that has room. It does not
know which nodes are closed to the job, nor who is next.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penstock_contracts.asks import LINK, NODE
from penstock_contracts.journal import RankPlacement
from penstock_scheduler.core.packing.fleet import Fleet
from penstock_scheduler.core.packing.layout import CPU, FREE, KIND, MILLI, ORDER, SLOTS, Array
from penstock_scheduler.core.packing.packer import NOBODY, Packer
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.placing.domains import (
    ALL_DEVICES,
    ANYWHERE,
    Places,
    Search,
    domain_name,
    find_places,
    usable_kinds,
)
from penstock_scheduler.core.placing.topology import NOWHERE, Topology
from penstock_scheduler.core.state import Node, Shape


def is_gang(shape: Shape) -> bool:
    """Whether one rank alone on whatever node is not what is asked for."""
    return shape.ranks > 1 or (shape.near == LINK and shape.gpus > 1)


def place_gang(
    shape: Shape,
    nodes: dict[str, Node],
    packer: Packer,
    topology: Topology,
    closed: Array = NOBODY,
) -> tuple[RankPlacement, ...] | None:
    """Places for all ranks, as near as wished or as demanded, or None; nothing is taken.

    `closed`: columns of the packer's fleet that the job must not use.
    """
    search = search_of(shape, packer.fleet, topology, closed)
    return place_together(search, nodes, lambda places: packer.values(search.pack, places.columns))


def search_of(shape: Shape, fleet: Fleet, topology: Topology, closed: Array) -> Search:
    """What is asked of a fleet, which may be one that is only thought of."""
    layout = topology.layout(fleet) if shape.near or shape.spread else NOWHERE
    return Search(shape, pack_shape(shape), fleet, layout, closed)


def place_together(
    search: Search, nodes: dict[str, Node], values_of: Callable[[Places], Array]
) -> tuple[RankPlacement, ...] | None:
    """Places for all ranks in the fleet of the search, or None. `values_of`: what they are worth;
    the most is best."""
    found = find_places(search)
    if found is None:
        return None
    level, places, able = found
    values = values_of(places)
    if level == NODE:
        domain = int(places.domains[_first(search, places, values, places.domains, able)])
    else:
        domain = _fullest(search, places, able) if level != ANYWHERE else 0
    which = np.flatnonzero(places.domains == domain)
    return _placements(search, nodes, places.only(which), values[which])


def _first(search: Search, places: Places, values: Array, domains: Array, able: Array) -> int:
    """The best node, of those whose domain is able, as the packer sees it."""
    which = np.flatnonzero(np.isin(domains, able))
    order = np.lexsort((search.fleet.nodes[ORDER, places.columns[which]], -values[which]))
    return int(which[order[0]])


def _fullest(search: Search, places: Places, able: Array) -> int:
    """The able domain with least free GPU, then CPU, then the smaller name."""
    best = able
    for free in (places.free_milli, search.fleet.nodes[CPU, places.columns]):
        sums = np.bincount(places.domains, weights=free)[best]
        best = best[sums == sums.min()]
    return min((int(one) for one in best), key=lambda one: domain_name(search, places, one))


def _placements(
    search: Search, nodes: dict[str, Node], places: Places, values: Array
) -> tuple[RankPlacement, ...]:
    placements: list[RankPlacement] = []
    for place, count in _shares(search, places, values):
        column = int(places.columns[place])
        node = nodes[search.fleet.names[column]]
        for local, devices in enumerate(_devices(search, column, int(places.heads[place]), count)):
            uuids = tuple(node.image.devices[index][0] for index in devices)
            placements.append(RankPlacement(len(placements), node.image.node, uuids, local))
    return tuple(placements)


def _shares(search: Search, places: Places, values: Array) -> list[tuple[int, int]]:
    """(place, ranks on it) in the order in which places take them. There is room for all."""
    order = search.fleet.nodes[ORDER, places.columns]
    sequence = np.lexsort((order, -values, -places.ranks))
    left, most = search.shape.ranks, places.ranks.copy()
    found: list[tuple[int, int]] = []
    taken: dict[int, int] = {}
    for place in sequence.tolist():
        here = int(most[place])
        if here >= left:
            able = np.flatnonzero(most >= left)
            best = able[np.lexsort((order[able], -values[able]))[0]]
            return [*found, (int(best), left)]
        if here <= 0:
            continue
        found.append((place, here))
        left -= here
        most[place] = 0
        if search.spreads and search.shape.spread != NODE:
            spread = int(places.spreads[place])
            taken[spread] = taken.get(spread, 0) + here
            beside = places.spreads == spread
            most[beside] = np.minimum(most[beside], search.shape.spread_ranks - taken[spread])
    return found


def _devices(search: Search, column: int, head: int, count: int) -> list[list[int]]:
    """The devices of so many ranks on one node: whole ones in order, of shared ones the one with
    least free."""
    fleet, pack = search.fleet, search.pack
    if not pack.gpus:
        return [[]] * count
    slots = int(fleet.nodes[SLOTS, column])
    able = usable_kinds(pack, fleet)[fleet.devices[KIND, column, :slots]]
    if head != ALL_DEVICES:
        able &= search.layout.heads[column, :slots] == head
    free = fleet.devices[FREE, column, :slots].tolist()
    if not pack.shares:
        whole = [index for index in np.flatnonzero(able).tolist() if free[index] == MILLI]
        return [whole[rank * pack.gpus : (rank + 1) * pack.gpus] for rank in range(count)]
    found: list[list[int]] = []
    usable = np.flatnonzero(able).tolist()
    for _ in range(count):
        _, index = min((free[i], i) for i in usable if free[i] >= pack.gpu_milli)
        free[index] -= pack.gpu_milli
        found.append([index])
    return found
