"""Which nodes, close together as wished, can hold all ranks of a job?

Counts how many ranks fit each node, or each link domain of each node, and adds that up by domain;
all nodes at once, in the columns of a fleet. It does not know which of these nodes takes which
rank, and the fleet may be one that is only thought of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from penstock_contracts.asks import LEVELS, LINK, NODE, RACK, SITE
from penstock_scheduler.core.packing.fleet import Fleet
from penstock_scheduler.core.packing.layout import (
    CPU,
    FREE,
    KIND,
    MEMORY,
    MILLI,
    OPEN,
    SLOTS,
    UNITS,
    Array,
)
from penstock_scheduler.core.packing.shapes import PackShape, row_key
from penstock_scheduler.core.packing.workload import may_use
from penstock_scheduler.core.placing.topology import UNKNOWN, Domain, Layout
from penstock_scheduler.core.state import Shape

ANYWHERE = ""
"""The level outside of all: every node is in its one domain."""
ALL_DEVICES = -1


class Places(NamedTuple):
    """Nodes, or link domains of nodes, on which some rank fits: the node's column, the first device
    of the link domain or ALL_DEVICES, how many ranks fit, the free milli-GPU they could use; the
    number of the domain of nearness each is in, and of the domain over which ranks are spread."""

    columns: Array
    heads: Array
    ranks: Array
    free_milli: Array
    domains: Array
    spreads: Array

    def only(self, which: Array) -> Places:
        return Places._make(column[which] for column in self)


class Search(NamedTuple):
    """What is asked, and of which fleet. `closed`: columns that must not be used."""

    shape: Shape
    pack: PackShape
    fleet: Fleet
    layout: Layout
    closed: Array

    @property
    def spreads(self) -> bool:
        """Whether the demand to spread can be violated at all."""
        return bool(self.shape.spread) and self.shape.ranks > self.shape.spread_ranks

    def levels(self) -> Iterator[str]:
        """In which order domains are looked at."""
        near = self.shape.near
        if near:
            yield from (near,) if self.shape.near_required else LEVELS[LEVELS.index(near) :]
        if not self.shape.near_required:
            yield ANYWHERE


class Nodes(NamedTuple):
    """Open nodes that have CPU, memory and room for orders for some rank: how many ranks by that;
    and what each device counts for a rank and has free, [node, device], 0 where it must not be
    used."""

    columns: Array
    limit: Array
    fits: Array
    free: Array


def find_places(search: Search) -> tuple[str, Places, Array] | None:
    """The first level that has a domain with room for all ranks, the places at that level, and the
    numbers of the domains that have; None when none has."""
    nodes = _open_nodes(search)
    whole = _by_node(search, nodes)
    if room_of(search, whole).sum() < search.shape.ranks:
        return None
    for level in search.levels():
        places = _by_link(search, nodes) if level == LINK else _at_level(search, level, whole)
        able = np.flatnonzero(room_of(search, places) >= search.shape.ranks)
        if able.shape[0]:
            return level, places, able
    return None


def most_ranks(search: Search, level: str) -> int:
    """How many ranks the domain of that level with most room can hold, at most all."""
    nodes = _open_nodes(search)
    if level == LINK:
        places = _by_link(search, nodes)
    else:
        places = _at_level(search, level, _by_node(search, nodes))
    return min(search.shape.ranks, int(room_of(search, places).max(initial=0)))


def room_of(search: Search, places: Places) -> Array:
    """How many ranks fit each domain, by its number, with no more in one place than allowed."""
    if not search.spreads or search.shape.spread == NODE:
        return _sums(places.domains, places.ranks)
    names = len(search.layout.names)
    pairs, place = np.unique(places.domains * names + places.spreads, return_inverse=True)
    ranks = np.minimum(_sums(place, places.ranks), search.shape.spread_ranks)
    return _sums(pairs // names, ranks)


def domain_name(search: Search, places: Places, number: int) -> Domain:
    """By what domains of one level are ordered; one that is not known is called by its node."""
    names = search.layout.names
    if number < len(names):
        return names[number]
    place = number - len(names)
    return ("", search.fleet.names[int(places.columns[place])], str(int(places.heads[place])))


def _sums(numbers: Array, values: Array) -> Array:
    return np.bincount(numbers, weights=values).astype(np.int64)


def _at_level(search: Search, level: str, nodes: Places) -> Places:
    layout = search.layout
    if level == NODE:
        return nodes._replace(domains=np.arange(nodes.columns.shape[0]) + len(layout.names))
    if level in (RACK, SITE):
        lies = (layout.racks if level == RACK else layout.sites)[nodes.columns]
        return nodes._replace(domains=_own_if_unknown(search, lies))
    return nodes


def _own_if_unknown(search: Search, numbers: Array) -> Array:
    """Of which it is not known where it lies, it is a domain of its own."""
    own = np.arange(numbers.shape[0]) + len(search.layout.names)
    return np.where(numbers == UNKNOWN, own, numbers)


def _by_node(search: Search, nodes: Nodes) -> Places:
    limit = nodes.limit
    if search.pack.gpus:
        limit = np.minimum(limit, nodes.fits.sum(axis=1) // _devices_each(search.pack))
    heads = np.full(limit.shape[0], ALL_DEVICES, np.int64)
    return _spread(search, nodes.columns, heads, limit, nodes.free.sum(axis=1))


def _by_link(search: Search, nodes: Nodes) -> Places:
    count, slots = nodes.fits.shape
    heads = search.layout.heads[nodes.columns, :slots]
    keys = (np.arange(count)[:, None] * slots + heads).reshape(-1)
    sums = np.bincount(keys, nodes.fits.reshape(-1), count * slots).astype(np.int64)
    chosen = np.flatnonzero(sums)
    free = np.bincount(keys, nodes.free.reshape(-1), count * slots)[chosen].astype(np.int64)
    node = chosen // slots
    ranks = np.minimum(nodes.limit[node], sums[chosen] // _devices_each(search.pack))
    places = _spread(search, nodes.columns[node], chosen % slots, ranks, free)
    links = search.layout.links[places.columns, places.heads]
    return places._replace(domains=_own_if_unknown(search, links))


def _spread(search: Search, columns: Array, heads: Array, ranks: Array, free: Array) -> Places:
    """Places on which some rank fits, as far as the demand to spread lets each hold ranks. Which is
    not known to lie apart from others holds none."""
    spreads = columns
    if search.spreads:
        if search.shape.spread != NODE:
            layout = search.layout
            spreads = (layout.racks if search.shape.spread == RACK else layout.sites)[columns]
            ranks = np.where(spreads == UNKNOWN, 0, ranks)
        ranks = np.minimum(ranks, search.shape.spread_ranks)
    places = Places(columns, heads, ranks, free, np.zeros_like(columns), spreads)
    return places.only(np.flatnonzero(ranks > 0))


def _open_nodes(search: Search) -> Nodes:
    fleet, pack = search.fleet, search.pack
    nodes = fleet.nodes[:, : fleet.count]
    fits = nodes[OPEN] != 0
    if search.closed.shape[0]:
        fits &= ~search.closed[: fits.shape[0]]
    columns = np.flatnonzero(fits)
    limit = np.full(columns.shape[0], search.shape.ranks, np.int64)
    for row, each in ((CPU, pack.cpu_milli), (MEMORY, pack.memory_mib), (UNITS, pack.units)):
        if each:
            np.minimum(limit, nodes[row, columns] // each, out=limit)
    columns, limit = columns[limit > 0], limit[limit > 0]
    if not pack.gpus:
        nothing = np.zeros((columns.shape[0], 0), np.int32)
        return Nodes(columns, limit, nothing, nothing)
    slots = int(nodes[SLOTS, columns].max(initial=1))
    able = usable_kinds(pack, fleet)[fleet.devices[KIND, columns, :slots]]
    free = np.where(able, fleet.devices[FREE, columns, :slots], 0)
    return Nodes(columns, limit, free // pack.gpu_milli if pack.shares else free == MILLI, free)


def usable_kinds(pack: PackShape, fleet: Fleet) -> Array:
    """By number of the device kind: may it be used? The last one stands for no device."""
    key = row_key(pack)
    return np.array([*(may_use(key, kind) for kind in fleet.kinds), False], np.bool_)


def _devices_each(pack: PackShape) -> int:
    return 1 if pack.shares else pack.gpus
