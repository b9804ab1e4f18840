"""What would the agent of one node of a small mesh say?

Meters what ran and counts it a second time, on its own axis; tells in one message what it owes. It
does not know why anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.nodes import Device, NodeDescription, NodeRegistered
from penstock_contracts.usage import DeviceCounter, DeviceSlice, Segment, UsageBatch

if TYPE_CHECKING:
    from metering.world import World


class ScriptedAgent:
    """One node's own account. `skew_ms`: how far its wall clock is ahead of the mesh's."""

    def __init__(
        self, world: World, name: str, gpus: int, boot_id: str, joined_ms: int, skew_ms: int
    ) -> None:
        self.world, self.name, self.boot_id, self.skew_ms = world, name, boot_id, skew_ms
        self.joined_ms = joined_ms + skew_ms
        self.devices = tuple(f"SIM-{name}-{index}" for index in range(gpus))
        self.batch = 0
        self.running = dict.fromkeys(self.devices, 0)
        self.owed: list[Segment] = []
        self.ended_ms: int | None = None
        self.sliced_ms = self.joined_ms
        self.slices = 0

    def describe(self, unhealthy: tuple[str, ...] = ()) -> NodeRegistered:
        devices = tuple(
            Device(uuid=uuid, index=index, model="H100", healthy=uuid not in unhealthy)
            for index, uuid in enumerate(self.devices)
        )
        return NodeRegistered(
            NodeDescription(
                node=self.name,
                boot_id=self.boot_id,
                joined_ms=self.joined_ms,
                cpu_milli=16_000,
                memory_mib=1 << 20,
                devices=devices,
            )
        )

    def meter(self, segment: Segment) -> None:
        """Owe a segment and count it."""
        self.owed.append(segment)
        for uuid in segment.devices:
            self.running[uuid] += segment.gpu_milli * (segment.t1_ms - segment.t0_ms)

    def _slice(self, upto_ms: int) -> tuple[DeviceSlice, ...]:
        """What each device did since it was told last: 100 W at rest, and all of it used."""
        begun_ms, self.sliced_ms = self.sliced_ms, upto_ms
        ran_ms = upto_ms - begun_ms
        if not ran_ms:
            return ()
        seq, self.slices = self.slices, self.slices + 1
        return tuple(
            DeviceSlice(
                uuid=uuid,
                seq=seq,
                t0_ms=begun_ms,
                t1_ms=upto_ms,
                energy_mj=100 * ran_ms,
                used_milli_ms=1_000 * ran_ms,
            )
            for uuid in self.devices
        )

    def send(self) -> int:
        """Everything owed, with counters up to now; returns its place in USAGE."""
        self.batch += 1
        now_ms = self.world.now_ms if self.ended_ms is None else self.ended_ms
        upto_ms = now_ms + self.skew_ms
        counters = tuple(
            DeviceCounter(uuid, self.joined_ms, upto_ms, ran) for uuid, ran in self.running.items()
        )
        slices = self._slice(upto_ms) if self.world.is_measured else ()
        said = UsageBatch(self.name, self.boot_id, self.batch, tuple(self.owed), counters, slices)
        self.owed = []
        return self.world.store("USAGE", f"penstock.v1.usage.{self.name}", said)
