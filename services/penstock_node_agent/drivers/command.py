"""What does a program of the operator's say about accelerators that this project does not know?

`PROGRAM inventory` and `PROGRAM sample` print JSON (docs/device-command.md). Whatever else it does
(takes too long, prints too much, something else, or fails) means that nothing is known. It does not
know the vendor.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import (
    CONTROL,
    DEVICES_PER_NODE_MAX,
    TEXT_LETTERS_MAX,
    DeviceId,
    Label,
)
from penstock_contracts.errors import MALFORMED
from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.host import host_capacity
from penstock_node_agent.drivers.port import (
    Capacity,
    Deaf,
    DriverSilent,
    Listening,
    MemoryUse,
    Reading,
    Vitals,
    Xid,
)
from penstock_node_agent.workplace.environment import base_environment

TIMEOUT_S = 10.0
OUTPUT_BYTES_MAX = 1 << 20
PIECE_BYTES = 64 * 1024
VISIBLE_LETTERS_MAX = 128
PIDS_MAX = 4_096

VariableName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$(?!\n)")]
Shown = Annotated[str, Meta(max_length=VISIBLE_LETTERS_MAX, pattern=r"^[^\x00-\x1f,]*$(?!\n)")]
Amount = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Decoded = TypeVar("_Decoded")


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the inventory, as in a node's description. `visible`: what stands for it in the
    variable that shows devices to a job; its UUID when it is empty."""

    uuid: DeviceId
    index: Annotated[int, Meta(ge=0, le=65_535)]
    model: Label
    visible: Shown = ""
    memory_mib: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    numa_node: Annotated[int, Meta(ge=-1, le=65_535)] | None = None
    link_domain: Label = ""
    driver_version: Label = ""
    pci_bus: Label = ""
    parent: Label = ""
    healthy: bool = True
    health_code: Label = ""
    health_reason: Label = ""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """`visible_variable`: by which a job is shown its devices. `checks`: `sample` tells what memory
    is in use, so that devices are checked before and after each job."""

    devices: Annotated[tuple[Described, ...], Meta(max_length=DEVICES_PER_NODE_MAX)]
    visible_variable: VariableName = "CUDA_VISIBLE_DEVICES"
    checks: bool = False


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What one device reads now; what is left out or null is not known. `memory_reserved_mib` is
    the driver's own and not in `memory_used_mib`."""

    uuid: DeviceId
    utilisation_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    memory_used_mib: Amount | None = None
    memory_free_mib: Amount | None = None
    memory_reserved_mib: Amount | None = None
    temperature_c: Annotated[int, Meta(ge=-273, le=10_000)] | None = None
    power_mw: Amount | None = None
    energy_mj: Amount | None = None
    sm_clock_mhz: Amount | None = None
    pids: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(max_length=PIDS_MAX)] | None = None


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    devices: Annotated[tuple[Sampled, ...], Meta(max_length=DEVICES_PER_NODE_MAX)]


class CommandUnavailable(Exception):
    """The program does not answer when the agent starts."""


class _Unusable(Exception):
    """What the program did is no answer."""


class CommandDriver:
    """Raises CommandUnavailable when made while the program gives no inventory."""

    def __init__(self, program: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._program, self._timeout_s = program, timeout_s
        self.name = f"command:{os.path.basename(program)}"[:TEXT_LETTERS_MAX]
        try:
            self._inventory = self._ask("inventory", Inventory)
        except DriverSilent as error:
            raise CommandUnavailable(str(error)) from error
        self.can_check = self._inventory.checks
        self.visible_variable = self._inventory.visible_variable

    def discover(self) -> tuple[Device, ...]:
        inventory = self._ask("inventory", Inventory)
        if len({device.uuid for device in inventory.devices}) < len(inventory.devices):
            raise DriverSilent(f"{self._program} inventory: two devices have the same uuid")
        self._inventory = inventory
        found = (_device(described) for described in self._inventory.devices)
        return tuple(sorted(found, key=lambda device: (device.index, device.uuid)))

    def capacity(self) -> Capacity:
        return host_capacity()

    def sample(self) -> tuple[Reading, ...]:
        known = {device.uuid: device for device in self._inventory.devices}
        return tuple(
            _reading(known[sampled.uuid], sampled)
            for sampled in self._ask("sample", Samples).devices
            if sampled.uuid in known
        )

    def vitals(self) -> tuple[Vitals, ...]:
        """Its inventory says which devices are unhealthy."""
        return ()

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        return {
            sampled.uuid: MemoryUse(
                used_mib=sampled.memory_used_mib,
                reserved_mib=sampled.memory_reserved_mib,
                pids=sampled.pids,
            )
            for sampled in self._ask("sample", Samples).devices
            if sampled.uuid in uuids
        }

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        return Deaf()

    def visible_devices(self, uuids: Sequence[str]) -> str:
        shown = {device.uuid: device.visible or device.uuid for device in self._inventory.devices}
        return ",".join(shown.get(uuid, uuid) for uuid in uuids)

    def close(self) -> None:
        return None

    def _ask(self, what: str, kind: type[_Decoded]) -> _Decoded:
        """What the program answers; raises DriverSilent."""
        try:
            return msgspec.json.decode(self._run(what), type=kind)
        except (OSError, _Unusable, *MALFORMED) as error:
            raise DriverSilent(f"{self._program} {what}: {_line(str(error))}") from error

    def _run(self, what: str) -> bytes:
        """What it prints, all that it has begun being ended."""
        process = subprocess.Popen(
            (self._program, what),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=base_environment(),
            start_new_session=True,
        )
        with process:
            try:
                said, complained = _read(process, time.monotonic() + self._timeout_s)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            hint = _line(complained.decode("utf-8", "replace"))
            raise _Unusable(f"it ended with {process.returncode}" + (f": {hint}" if hint else ""))
        return said


def _read(process: subprocess.Popen[bytes], deadline_s: float) -> tuple[bytes, bytes]:
    """All of stdout and the beginning of stderr; raises _Unusable when that is too much or takes
    too long."""
    said, complained = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, into in ((process.stdout, said), (process.stderr, complained)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, into)
        while selector.get_map():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise _Unusable("it takes too long")
            for key, _ in selector.select(left_s):
                piece = os.read(key.fd, PIECE_BYTES)
                if not piece:
                    selector.unregister(key.fileobj)
                key.data.extend(piece)
                if len(said) > OUTPUT_BYTES_MAX:
                    raise _Unusable(f"it says more than {OUTPUT_BYTES_MAX} bytes")
                del complained[TEXT_LETTERS_MAX:]
    try:
        process.wait(max(0.0, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _Unusable("it takes too long") from error
    return bytes(said), bytes(complained)


def _device(described: Described) -> Device:
    return Device(
        uuid=described.uuid,
        index=described.index,
        model=described.model,
        memory_mib=described.memory_mib,
        numa_node=described.numa_node,
        link_domain=described.link_domain,
        driver_version=described.driver_version,
        pci_bus=described.pci_bus,
        parent=described.parent,
        healthy=described.healthy,
        health_code=described.health_code,
        health_reason=described.health_reason,
    )


def _reading(device: Described, sampled: Sampled) -> Reading:
    return Reading(
        uuid=device.uuid,
        index=device.index,
        model=device.model,
        parent=device.parent,
        pci_bus=device.pci_bus,
        driver_version=device.driver_version,
        utilisation_percent=sampled.utilisation_percent,
        memory_used_mib=sampled.memory_used_mib,
        memory_free_mib=sampled.memory_free_mib,
        memory_reserved_mib=sampled.memory_reserved_mib,
        temperature_c=sampled.temperature_c,
        power_mw=sampled.power_mw,
        energy_mj=sampled.energy_mj,
        sm_clock_mhz=sampled.sm_clock_mhz,
    )


def _line(text: str) -> str:
    return CONTROL.sub(" ", text).strip()[:TEXT_LETTERS_MAX]
