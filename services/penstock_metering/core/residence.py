"""During which boots was a device there, and what was its unused time?

Turns the ordered changes of the nodes into one record per device and boot. It does not know leases
or use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from penstock_contracts.nodes import LOST
from penstock_metering.core.rows import NodeChange
from penstock_metering.core.timeline import BROKEN, DRAINING, FREE, UNKNOWN, Background


class Residence(msgspec.Struct, kw_only=True):
    """One device in one boot of its node. `start_ms` None: it appeared later than the node, so only
    its counter can say from when. `followed_ms`: when the node's next boot began, or the node was
    removed; None = this is its present."""

    node: str
    boot_id: str
    uuid: str
    start_ms: int | None
    seen_ms: int
    followed_ms: int | None
    background: tuple[Background, ...]


class _Standing(msgspec.Struct):
    """What decides a device's unused time."""

    lost: bool = False
    cordoned: bool = False
    removed: bool = False
    broken: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()

    def take(self, change: NodeChange) -> None:
        if change.kind in ("boot", "devices"):
            self.broken = frozenset(change.broken)
            self.present = frozenset(change.devices)
            self.removed = False
        elif change.kind == "liveness":
            self.lost = change.liveness == LOST
        elif change.kind == "cordoned":
            self.cordoned = True
        elif change.kind == "uncordoned":
            self.cordoned = False
        elif change.kind == "removed":
            self.removed = True
            self.lost = self.cordoned = False

    def state_of(self, uuid: str) -> str:
        if uuid in self.broken or uuid not in self.present:
            return BROKEN
        if self.lost or self.removed:
            return UNKNOWN
        return DRAINING if self.cordoned else FREE


def residences(changes: Iterable[NodeChange]) -> Iterator[Residence]:
    """Every device in every boot, nodes in order of their names."""
    by_node: dict[str, list[NodeChange]] = {}
    for change in changes:
        by_node.setdefault(change.node, []).append(change)
    for node in sorted(by_node):
        standing = _Standing()
        boots = _by_boot(by_node[node])
        for index, boot in enumerate(boots):
            followed_ms = None
            if index + 1 < len(boots):
                followed_ms = boots[index + 1][0].joined_ms
            elif boot[-1].kind == "removed":
                followed_ms = boot[-1].at_ms
            yield from _in_boot(boot, standing, followed_ms)


def boots_in_order(changes: Iterable[NodeChange]) -> dict[str, NodeChange]:
    """The first change of each boot of one node. No boot comes back: where the journal returns to
    one that was over, an old description was believed once more."""
    first: dict[str, NodeChange] = {}
    for change in changes:
        first.setdefault(change.boot_id, change)
    return first


def _by_boot(changes: Sequence[NodeChange]) -> list[list[NodeChange]]:
    """A node that was removed and came back in the same boot goes on in it. What was said while an
    old description was believed is of the newest boot, but for the devices."""
    first = boots_in_order(changes)
    boots: list[list[NodeChange]] = []
    for change in changes:
        if change is first[change.boot_id]:
            boots.append([change])
        elif change.boot_id == boots[-1][0].boot_id:
            boots[-1].append(change)
        elif change.kind not in ("boot", "devices"):
            boots[-1].append(msgspec.structs.replace(change, devices=()))
    return boots


def _in_boot(
    boot: Sequence[NodeChange], standing: _Standing, followed_ms: int | None
) -> Iterator[Residence]:
    first = boot[0]
    backgrounds: dict[str, list[Background]] = {}
    for change in boot:
        standing.take(change)
        at_ms = first.joined_ms if change is first else max(first.joined_ms, change.at_ms)
        for uuid in change.devices:
            backgrounds.setdefault(uuid, [])
        for uuid, background in backgrounds.items():
            background.append(Background(at_ms, standing.state_of(uuid)))
    for uuid in sorted(backgrounds):
        there_from_start = uuid in first.devices
        yield Residence(
            node=first.node,
            boot_id=first.boot_id,
            uuid=uuid,
            start_ms=first.joined_ms if there_from_start else None,
            seen_ms=backgrounds[uuid][0].start_ms,
            followed_ms=followed_ms,
            background=tuple(backgrounds[uuid]),
        )
