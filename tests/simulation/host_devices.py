"""Which devices does a simulated host have, and which of them are broken?

The driver's port over imagined devices. It does not know when one breaks, nor what runs on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context

import msgspec

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.port import (
    DRIVER_ERROR,
    GIB_MIB,
    OFF_BUS,
    Listening,
    MemoryUse,
    Vitals,
    Xid,
)
from penstock_node_agent.drivers.simulated import MEMORY_GIB, Simulated, SimulatedDriver
from tests.simulation.kernel import Kernel
from tests.simulation.loop import PROCESS
from tests.simulation.terrain import Ground

UNHEALTHY, MISSING, FALLEN, ERROR, ECC = "unhealthy", "missing", "off_bus", "nvml_error", "ecc"
SPOILT = "work_spoilt"
"""An error that the device contained: what runs there is lost, the device is well."""
KINDS = (UNHEALTHY, MISSING, FALLEN, ERROR, ECC, SPOILT)
CONDEMNING = (FALLEN, ECC)
"""Only a reboot mends these."""
SEEN_AT_ONCE = (FALLEN, ECC, SPOILT)
"""The driver tells of these by itself."""
XIDS = {FALLEN: 79, ECC: 48, SPOILT: 94}
HARMLESS_XIDS = (13, 31, 43, 63)
SAID = {UNHEALTHY: "", FALLEN: OFF_BUS, ERROR: DRIVER_ERROR}
"""What a driver finds by itself when it looks for devices."""


Memory = Callable[[str], MemoryUse]
"""Of a device, by UUID."""


class FaultyDriver(SimulatedDriver):
    """`faults`: kind by UUID. `built_in`: all devices, well or not. `memory`: what is held of a
    device; None: the driver cannot say."""

    def __init__(
        self, ground: Ground, *, node: str, kernel: Kernel, memory: Memory | None = None
    ) -> None:
        super().__init__(Simulated(len(ground.models), ""), node=node)
        self.faults: dict[str, str] = {}
        self.can_check = memory is not None
        self._kernel, self._memory = kernel, memory
        self._ears: list[_Ear] = []
        self.built_in = tuple(
            msgspec.structs.replace(
                device, model=model, memory_mib=_memory_mib(model), link_domain=link
            )
            for device, model, link in zip(
                super().discover(), ground.models, ground.links, strict=True
            )
        )

    # -- what befalls a device -----------------------------------------------------------------
    def tell(self, uuid: str, code: int) -> bool:
        """The driver logs an XID: whether somebody hears of it. Nobody else ever does."""
        for ear in self._ears:
            ear.tell(self._kernel, Xid(uuid, code))
        return bool(self._ears)

    def reboot(self) -> None:
        """The devices are reset, and nobody listens any more."""
        self._ears.clear()
        for uuid in [uuid for uuid, kind in self.faults.items() if kind in CONDEMNING]:
            del self.faults[uuid]

    # -- the port ------------------------------------------------------------------------------
    def discover(self) -> tuple[Device, ...]:
        return tuple(
            self._look(device)
            for device in self.built_in
            if self.faults.get(device.uuid) != MISSING
        )

    def vitals(self) -> tuple[Vitals, ...]:
        return tuple(
            Vitals(
                uuid=device.uuid,
                index=device.index,
                lost=self.faults.get(device.uuid) == FALLEN,
                error="Unknown Error" if self.faults.get(device.uuid) == ERROR else "",
                ecc_uncorrectable=int(self.faults.get(device.uuid) == ECC),
            )
            for device in self.built_in
            if self.faults.get(device.uuid) != MISSING
        )

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        if self._memory is None:
            return {}
        silent = (MISSING, FALLEN, ERROR)
        return {uuid: self._memory(uuid) for uuid in uuids if self.faults.get(uuid) not in silent}

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        ear = _Ear(tell, self._ears)
        self._ears.append(ear)
        return ear

    def _look(self, device: Device) -> Device:
        kind = self.faults.get(device.uuid)
        if kind not in SAID:
            return device
        return msgspec.structs.replace(
            device, healthy=False, health_reason="as a test wants it", health_code=SAID[kind]
        )


class _Ear:
    """Tells a process that listens, as a thread of its own would."""

    def __init__(self, tell: Callable[[Xid], None], ears: list[_Ear]) -> None:
        self._tell, self._ears = tell, ears
        process = PROCESS.get()
        self._context: Context | None = None
        if process is not None:
            self._context = process.context
            process.at_death(self.close)

    def tell(self, kernel: Kernel, xid: Xid) -> None:
        kernel.loop.call_soon(self._tell, xid, context=self._context)

    def close(self) -> None:
        if self in self._ears:
            self._ears.remove(self)


def _memory_mib(model: str) -> int | None:
    gib = MEMORY_GIB.get(model)
    return None if gib is None else gib * GIB_MIB
