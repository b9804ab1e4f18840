"""Which nodes and devices lie close together, and which nodes have which labels?

Racks and sites of nodes and link domains of devices as arrays, in the columns of a fleet; and the
fleet as it would be with nothing on it. Brought up to date only when asked, and only for nodes that
are others than before. It does not know what is free, nor what anybody wishes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock_contracts.asks import RACK, SITE
from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.orders.room import NODE_UNITS
from penstock_scheduler.core.packing.fleet import Fleet, NodeRoom
from penstock_scheduler.core.packing.layout import MILLI, Array

UNKNOWN = -1
SPARE_NAMES_MAX = 4_096
"""Names of domains that no node has any more are forgotten when they are more than these."""
LABELS_KNOWN_MAX = 256
"""Of so many sets of labels it is remembered which nodes lack them."""

Labels = tuple[tuple[str, str], ...]
Needs = tuple[str, ...]
Domain = tuple[str, ...]
"""(site, rack), (site,) or (link domain,): by these, domains are ordered."""


class Layout(NamedTuple):
    """Where each column of a fleet lies: `sites` and `racks` [column] and `links` [column, device]
    are numbers of domains, UNKNOWN where the node does not say; `heads` [column, device] is the
    first device of the node in the same link domain, where it is unknown the device itself."""

    sites: Array
    racks: Array
    links: Array
    heads: Array
    names: list[Domain]
    """Of the domains, by number."""


NOWHERE = Layout(*(np.zeros(0, np.int64),) * 2, *(np.zeros((0, 0), np.int64),) * 2, [])
"""For whom it does not matter where nodes lie."""


class Topology:
    """`put` and `remove` after every change of a node's image keep it true."""

    def __init__(self) -> None:
        self._images: dict[str, NodeImaged] = {}
        self._pools: dict[str, str] = {}
        self._pool_sizes: dict[str, int] = {}
        self._stale: dict[str, None] = {}
        self._names_kept = 0
        self._start()

    def put(self, image: NodeImaged, pool: str = "") -> None:
        """A node that is new or another than before, and in which pool it is."""
        before = self._images.get(image.node)
        if self._pools.get(image.node) != pool:
            self._pool(image.node, pool)
        self._images[image.node] = image
        if before is None or _differ(before, image):
            self._stale[image.node] = None

    def remove(self, name: str) -> None:
        """The node is no more."""
        if self._images.pop(name, None) is not None:
            self._stale[name] = None
            self._pool(name, None)

    def empty(self) -> Fleet:
        """All nodes with nothing on them and all devices healthy: what could ever be free."""
        self._refresh()
        return self._empty

    def layout(self, fleet: Fleet) -> Layout:
        """Where the nodes of a fleet lie; of nodes not known here nothing is known."""
        self._refresh()
        own = self._layout
        slots = fleet.devices.shape[2]
        if fleet.names == self._empty.names and slots <= own.heads.shape[1]:
            return own
        found = _unknown(fleet.count, max(slots, own.heads.shape[1]))
        theirs, ours = self._columns_of(fleet)
        found.sites[theirs], found.racks[theirs] = own.sites[ours], own.racks[ours]
        found.links[theirs, : own.links.shape[1]] = own.links[ours]
        found.heads[theirs, : own.heads.shape[1]] = own.heads[ours]
        return found._replace(names=own.names)

    def lacking(self, labels: Labels, needs: Needs, fleet: Fleet) -> Array:
        """The columns of a fleet whose nodes have not all of these labels, or offer not all that is
        needed."""
        self._refresh()
        found = self._lacking.pop((labels, needs), None)
        if found is None:
            found = np.ones(len(self._empty.names), np.bool_)
            for name, column in self._empty.columns.items():
                found[column] = not suits(self._images[name], labels, needs)
            if len(self._lacking) >= LABELS_KNOWN_MAX:
                del self._lacking[next(iter(self._lacking))]
        self._lacking[labels, needs] = found
        return self._in(fleet, found)

    def is_whole(self, pool: str) -> bool:
        """Whether every node is in this pool."""
        return self._pool_sizes.get(pool, 0) == len(self._pools)

    def outside(self, pool: str, fleet: Fleet) -> Array:
        """The columns of a fleet whose nodes are not in this pool."""
        self._refresh()
        found = self._outside.get(pool)
        if found is None:
            found = self._outside[pool] = np.ones(len(self._empty.names), np.bool_)
            for name, column in self._empty.columns.items():
                found[column] = self._pools[name] != pool
        return self._in(fleet, found)

    def _in(self, fleet: Fleet, found: Array) -> Array:
        """What is found of our columns, in those of another fleet; True where we know nothing."""
        if fleet.names == self._empty.names:
            return found
        theirs, ours = self._columns_of(fleet)
        other = np.ones(fleet.count, np.bool_)
        other[theirs] = found[ours]
        return other

    def _pool(self, name: str, pool: str | None) -> None:
        self._outside.clear()
        before = self._pools.pop(name, None)
        if before is not None:
            self._pool_sizes[before] -= 1
        if pool is not None:
            self._pools[name] = pool
            self._pool_sizes[pool] = self._pool_sizes.get(pool, 0) + 1

    def _columns_of(self, fleet: Fleet) -> tuple[list[int], list[int]]:
        """The columns of nodes in both fleets: there, and here."""
        both = [name for name in fleet.columns if name in self._empty.columns]
        return [fleet.columns[n] for n in both], [self._empty.columns[n] for n in both]

    def _start(self) -> None:
        self._empty = Fleet()
        self._numbers: dict[Domain, int] = {}
        self._lacking: dict[tuple[Labels, Needs], Array] = {}
        self._outside: dict[str, Array] = {}
        columns, slots = self._empty.devices.shape[1:]
        self._layout = _unknown(columns, slots)
        self._slots = np.arange(slots)

    def _refresh(self) -> None:
        if not self._stale:
            return
        self._lacking.clear()
        self._outside.clear()
        self._place_stale()
        if len(self._numbers) > 2 * max(self._names_kept, len(self._images)) + SPARE_NAMES_MAX:
            self._start()
            self._stale = dict.fromkeys(self._images)
            self._place_stale()
            self._names_kept = len(self._numbers)

    def _place_stale(self) -> None:
        for name in self._stale:
            image = self._images.get(name)
            if image is not None:
                self._place(image)
            elif name in self._empty.columns:
                self._forget(self._empty.remove(name))
        self._stale.clear()

    def _place(self, image: NodeImaged) -> None:
        devices = tuple((model, memory_mib) for _, model, memory_mib in image.devices)
        free = (MILLI,) * len(devices)
        room = NodeRoom(image.cpu_milli, image.memory_mib, devices, free, True, NODE_UNITS)
        column = self._empty.put(image.node, room)
        self._fit()
        self._forget(column)
        site, rack = image.labels.get(SITE, ""), image.labels.get(RACK, "")
        own = self._layout
        if site:
            own.sites[column] = self._number((site,))
        if rack:
            own.racks[column] = self._number((site, rack))
        if image.links:
            self._link(column, image.links)

    def _link(self, column: int, links: tuple[str, ...]) -> None:
        first: dict[str, int] = {}
        for index, link in enumerate(links):
            if link:
                first.setdefault(link, index)
        count = len(links)
        heads = [first.get(link, index) for index, link in enumerate(links)]
        self._layout.heads[column, :count] = heads
        known = {link: self._number((link,)) for link in first}
        self._layout.links[column, :count] = [known.get(link, UNKNOWN) for link in links]

    def _forget(self, column: int) -> None:
        own = self._layout
        own.sites[column] = own.racks[column] = own.links[column] = UNKNOWN
        own.heads[column] = self._slots

    def _fit(self) -> None:
        """Brings the arrays to the size of the fleet's."""
        columns, slots = self._empty.devices.shape[1:]
        old = self._layout
        if old.links.shape == (columns, slots):
            return
        new = _unknown(columns, slots)
        before = old.links.shape
        new.sites[: before[0]], new.racks[: before[0]] = old.sites, old.racks
        new.links[: before[0], : before[1]] = old.links
        new.heads[: before[0], : before[1]] = old.heads
        self._layout = new._replace(names=old.names)
        self._slots = np.arange(slots)

    def _number(self, name: Domain) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._numbers)
            self._layout.names.append(name)
        return number


def suits(image: NodeImaged, labels: Labels, needs: Needs) -> bool:
    """Whether the node has all of these labels and offers all that is needed."""
    has_labels = all(image.labels.get(key) == value for key, value in labels)
    return has_labels and all(word in image.offers for word in needs)


def _unknown(columns: int, slots: int) -> Layout:
    return Layout(
        np.full(columns, UNKNOWN, np.int64),
        np.full(columns, UNKNOWN, np.int64),
        np.full((columns, slots), UNKNOWN, np.int64),
        np.tile(np.arange(slots), (columns, 1)),
        [],
    )


def _differ(one: NodeImaged, other: NodeImaged) -> bool:
    """Whether two images of a node lie or are made differently; all else may change often."""
    return (
        one.labels != other.labels
        or one.offers != other.offers
        or one.devices != other.devices
        or one.links != other.links
        or one.cpu_milli != other.cpu_milli
        or one.memory_mib != other.memory_mib
    )
