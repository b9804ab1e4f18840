"""Which devices may be used, given what was seen of them again and again?

One bad look condemns nothing: a device is sick when two in a row say so, and well again when none
has said so for a minute. It does not know how devices are looked at, nor what uses them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock_contracts.nodes import Device

STRIKES = 2
WELL_NS = 60_000_000_000
GONE = "gone from the host"


class Looks:
    """What to say of the devices after each look; begins with what was said when the agent
    started."""

    def __init__(self, first: Sequence[Device], now_ns: int) -> None:
        self._said = {device.uuid: device for device in first}
        self._bad_ns = {device.uuid: now_ns for device in first if not device.healthy}
        self._strikes: dict[str, int] = {}

    @property
    def in_doubt(self) -> bool:
        """The next look decides about a device: it should not be long in coming."""
        return bool(self._strikes)

    def look(self, seen: Sequence[Device], now_ns: int) -> tuple[Device, ...]:
        """Every device that was ever seen, in index order; one that is gone stays, as unhealthy."""
        present = {device.uuid: device for device in seen}
        nameless = {d.index: d for d in seen if not d.healthy and d.uuid not in self._said}
        for uuid, before in self._said.items():
            now = present.get(uuid)
            if now is None:  # a device that has lost its name is found by its place
                stranger = nameless.pop(before.index, None)
                now = sick(before, GONE if stranger is None else stranger.health_reason)
                if stranger is not None:
                    del present[stranger.uuid]
            self._said[uuid] = self._judge(before, now, now_ns)
        for uuid, device in present.items():
            self._said.setdefault(uuid, device)
        return tuple(sorted(self._said.values(), key=lambda device: (device.index, device.uuid)))

    def _judge(self, before: Device, now: Device, now_ns: int) -> Device:
        uuid = before.uuid
        if not now.healthy:
            self._bad_ns[uuid] = now_ns
            if not before.healthy:
                return before
            strikes = self._strikes.get(uuid, 0) + 1
            if strikes < STRIKES:
                self._strikes[uuid] = strikes
                return before
        self._strikes.pop(uuid, None)
        if not now.healthy:
            return sick(before, now.health_reason)
        if before.healthy or now_ns - self._bad_ns[uuid] < WELL_NS:
            return before
        return msgspec.structs.replace(before, healthy=True, health_reason="")


def sick(device: Device, reason: str) -> Device:
    return msgspec.structs.replace(device, healthy=False, health_reason=reason)


def fault_of(devices: dict[str, Device], uuids: Sequence[str]) -> tuple[str, str] | None:
    """Why work cannot use these: a code and a sentence that names the device; None when it can."""
    for uuid in uuids:
        device = devices.get(uuid)
        if device is None:
            return "device_unknown", f"this node has no device {uuid}"
        if not device.healthy:
            return "device_unhealthy", f"device {uuid} is unhealthy: {device.health_reason}"
    return None
