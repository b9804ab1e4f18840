"""During which boots was a device there, and what was its unused time?

Turns the ordered changes of one node into its boots. It can go on where an earlier look ended. It
does not know leases or use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from penstock_contracts.nodes import LOST
from penstock_metering.core.rows import NodeChange
from penstock_metering.core.sweeping import BROKEN, DRAINING, FREE, UNKNOWN, Background

BOOTS_REMEMBERED_MAX = 64
"""Boot ids by which an old description is known again."""


class Standing(msgspec.Struct, array_like=True):
    """What decides a device's unused time, as of some change."""

    lost: bool = False
    cordoned: bool = False
    removed: bool = False
    broken: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    site: str = ""

    def take(self, change: NodeChange) -> None:
        if change.kind in ("boot", "devices"):
            self.broken = change.broken
            self.present = change.devices
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
        self.site = change.site

    def copy(self) -> Standing:
        return msgspec.structs.replace(self)

    def state_of(self, uuid: str) -> int:
        if uuid in self.broken or uuid not in self.present:
            return BROKEN
        if self.lost or self.removed:
            return UNKNOWN
        return DRAINING if self.cordoned else FREE


class Boot(msgspec.Struct, kw_only=True):
    """One boot of a node, from `start_ms` on. `offset_ms` moves the node's own axis: no node has
    joined after inventory heard of it. `devices`: from when on each is known, None = from the
    start. `steps`: the standing from each change on, ascending. `followed_ms`: when the next boot
    began, or the node was removed; None = this is its present."""

    boot_id: str
    start_ms: int
    offset_ms: int = 0
    devices: dict[str, int | None] = {}
    steps: list[tuple[int, int, Standing]] = []
    """(number of the change, its instant, how the node stood from then on)"""
    followed_ms: int | None = None

    def background(self, uuid: str, before: Standing | None, upto_ms: int) -> list[Background]:
        """The device's unused time. `before`: how the node stood at `upto_ms`, where `steps` go on;
        None = they are all there are."""
        seen_ms = self.devices[uuid]
        found = []
        if before is not None and (seen_ms is None or seen_ms <= upto_ms):
            found.append(Background(self.start_ms, before.state_of(uuid)))
        return found + [
            Background(at_ms, standing.state_of(uuid))
            for _, at_ms, standing in self.steps
            if seen_ms is None or at_ms >= seen_ms
        ]

    def seen_ms(self, uuid: str) -> int:
        """When inventory first spoke of the device in this boot."""
        seen_ms = self.devices[uuid]
        return self.start_ms if seen_ms is None else seen_ms


Numbered = tuple[int, NodeChange]


def read_boots(
    changes: Iterable[Numbered],
    standing: Standing,
    known: Sequence[str] = (),
    current: Boot | None = None,
) -> list[Boot]:
    """The boots of one node, beginning with the one that `current` is, as of `standing`.

    No boot comes back: where the journal returns to one that was over (`known` names all so far),
    an old description was believed once more. What was said meanwhile is of the newest boot, but
    for the devices. A node that was removed and came back in the same boot goes on in it.
    """
    standing = standing.copy()
    seen = list(known)
    boots = [] if current is None else [current]
    for number, said in changes:
        change = said
        if change.boot_id not in seen:
            seen.append(change.boot_id)
            start_ms = min(change.joined_ms, change.at_ms)
            if boots:
                boots[-1].followed_ms = start_ms
            boots.append(
                Boot(
                    boot_id=change.boot_id,
                    start_ms=start_ms,
                    offset_ms=start_ms - change.joined_ms,
                    devices=dict.fromkeys(change.devices),
                    steps=[],
                )
            )
        boot = boots[-1]
        if change.boot_id != boot.boot_id:
            if change.kind in ("boot", "devices"):
                continue
            change = msgspec.structs.replace(change, devices=())
        at_ms = max(boot.start_ms, change.at_ms) if boot.steps or boot is current else boot.start_ms
        standing.take(change)
        for uuid in change.devices:
            boot.devices.setdefault(uuid, at_ms)
        boot.followed_ms = at_ms if change.kind == "removed" else None
        boot.steps.append((number, at_ms, standing.copy()))
    return boots
