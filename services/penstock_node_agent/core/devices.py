"""Which devices may be used, given what was seen and heard of them?

One bad look condemns nothing: a device is sick when two in a row say so, and well again when none
has said so for a minute. An XID that only a reset mends condemns at once and for the rest of the
boot. Who has checked a device may hold it back, and let it go. It does not know how devices are
looked at, nor what uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from penstock_contracts.bounds import CONTROL, TEXT_LETTERS_MAX
from penstock_contracts.nodes import Device
from penstock_node_agent.core.xids import Harm, harm_of, sentence

STRIKES = 2
WELL_NS = 60_000_000_000

OFF_BUS = "off_bus"
DRIVER_ERROR = "nvml_error"
ECC_UNCORRECTABLE = "ecc_uncorrectable"
ROWS_FAILED = "rows_remap_failed"
ROWS_PENDING = "rows_remap_pending"
MEMORY_HELD = "memory_held"
SANITY = "sanity"
XID_PREFIX = "xid_"
UNKNOWN_FAULT = "unhealthy"

GONE = "gone from the host"
REPARTITIONED = "repartitioned"
SPARES_WORK = frozenset({MEMORY_HELD, SANITY})
"""They keep new work away, and end none."""
HELD_CODES = SPARES_WORK


class Fault(NamedTuple):
    """`code` for programs, `reason` for people."""

    code: str
    reason: str


class Vitals(Protocol):
    """What a device says of its own health; None = it does not say."""

    @property
    def lost(self) -> bool: ...
    @property
    def error(self) -> str: ...
    @property
    def ecc_uncorrectable(self) -> int | None: ...
    @property
    def rows_failed(self) -> bool | None: ...
    @property
    def rows_pending(self) -> bool | None: ...


class _Known:
    """One device. `well`: as it is described when nothing is wrong. `held`: by whom has checked
    it."""

    def __init__(self, device: Device) -> None:
        self.well = _healthy(device)
        self.sick: Fault | None = None
        self.held: Fault | None = None
        self.bad_ns = self.strikes = 0


class Looks:
    """What to say of the devices after each look.

    Begins with what is found when the agent starts, and with what was said of them before in the
    same boot: who was sick then is no better for the agent's having started again.
    """

    def __init__(
        self, first: Sequence[Device], now_ns: int, before: Mapping[str, Device] | None = None
    ) -> None:
        self._known = {device.uuid: _Known(device) for device in first}
        self._condemned: dict[str, Fault] = {}
        for device in first:
            if not device.healthy:
                self._sicken(self._known[device.uuid], fault_said(device), now_ns)
        for device in (before or {}).values():
            self._remember(device, now_ns)

    @property
    def in_doubt(self) -> bool:
        """The next look decides about a device: it should not be long in coming."""
        return any(known.strikes for known in self._known.values())

    @property
    def held(self) -> tuple[str, ...]:
        """What somebody holds back who has checked it."""
        return tuple(uuid for uuid, known in self._known.items() if known.held is not None)

    def said(self) -> tuple[Device, ...]:
        """Every device, in index order; one that is gone stays, as unhealthy."""
        devices = (self._describe(known) for known in self._known.values())
        return tuple(sorted(devices, key=lambda device: (device.index, device.uuid)))

    def look(
        self, seen: Sequence[Device], now_ns: int, vitals: Mapping[str, Vitals] | None = None
    ) -> tuple[Device, ...]:
        """What is to be said after this look."""
        present = {device.uuid: device for device in seen}
        parents = {device.parent for device in seen if device.parent}
        nameless = {d.index: d for d in seen if not d.healthy and d.uuid not in self._known}
        for uuid, known in list(self._known.items()):
            now = present.get(uuid)
            if now is not None:
                self._judge(known, now, (vitals or {}).get(uuid), now_ns)
                continue
            stranger = nameless.pop(known.well.index, None)
            if stranger is not None:  # a device that has lost its name is found by its place
                del present[stranger.uuid]
                self._doubt(known, fault_said(stranger), now_ns)
            elif uuid in parents or known.well.parent in {*parents, *present}:
                self._doubt(known, Fault(REPARTITIONED, REPARTITIONED), now_ns)
                if known.sick is not None:
                    del self._known[uuid]
            else:
                self._doubt(known, Fault(OFF_BUS, GONE), now_ns)
        for uuid, device in present.items():
            if uuid not in self._known:
                self._known[uuid] = _Known(device)
                if not device.healthy:
                    self._sicken(self._known[uuid], fault_said(device), now_ns)
        return self.said()

    def hear(self, uuid: str, code: int, now_ns: int) -> tuple[Device, ...]:
        """The driver has told an XID of a device, or of the GPU that instances are parts of."""
        harm = harm_of(code)
        fault = Fault(f"{XID_PREFIX}{code}", sentence(code))
        if harm is Harm.DEVICE:
            self._condemned.setdefault(uuid, fault)
        elif harm is Harm.WORK:
            for known in self._known.values():
                if uuid in (known.well.uuid, known.well.parent):
                    self._sicken(known, fault, now_ns)
        return self.said()

    def hold(self, uuid: str, fault: Fault) -> tuple[Device, ...]:
        """Somebody has checked it: it is not to be used until it is let go. What is found again
        and again is told as it was first, however much memory it is now."""
        known = self._known.get(uuid)
        if known is not None and (known.held is None or known.held.code != fault.code):
            known.held = fault
        return self.said()

    def let_go(self, uuid: str, code: str) -> tuple[Device, ...]:
        """What it was held back for is over."""
        known = self._known.get(uuid)
        if known is not None and known.held is not None and known.held.code == code:
            known.held = None
        return self.said()

    def trust(self, uuids: Iterable[str]) -> tuple[Device, ...]:
        """An operator vouches for these, which have been reset or repaired."""
        for uuid in uuids:
            self._condemned.pop(uuid, None)
            for known in self._known.values():
                if uuid in (known.well.uuid, known.well.parent):
                    self._condemned.pop(known.well.uuid, None)
                    known.sick, known.strikes = None, 0
        return self.said()

    def _remember(self, device: Device, now_ns: int) -> None:
        """What was said of it before the agent started again. One that cannot be found is looked
        for once more; what else was wrong with one that is not there says nothing."""
        known = self._known.get(device.uuid)
        if known is None:
            if not device.healthy and device.health_code != OFF_BUS:
                return
            self._known[device.uuid] = known = _Known(device)
            known.strikes = 1
        if device.healthy:
            return
        fault = fault_said(device)
        if is_lasting(fault.code):
            self._condemned[device.uuid] = fault
        elif fault.code in HELD_CODES:
            known.held = fault
        else:
            self._sicken(known, fault, now_ns)

    def _judge(self, known: _Known, now: Device, vitals: Vitals | None, now_ns: int) -> None:
        fault = fault_said(now) if not now.healthy else ailment(vitals)
        if fault is not None:
            self._doubt(known, fault, now_ns)
            return
        known.strikes = 0
        if known.sick is not None and now_ns - known.bad_ns >= WELL_NS:
            known.sick = None
        remark = vitals is not None and bool(vitals.rows_pending)
        known.well = msgspec.structs.replace(
            now,
            index=known.well.index,
            link_domain=known.well.link_domain or now.link_domain,
            health_code=ROWS_PENDING if remark else "",
            health_reason="memory rows are remapped at its next reset" if remark else "",
        )

    def _doubt(self, known: _Known, fault: Fault, now_ns: int) -> None:
        known.bad_ns = now_ns
        if known.sick is not None:
            return
        known.strikes += 1
        if known.strikes >= STRIKES:
            self._sicken(known, fault, now_ns)

    @staticmethod
    def _sicken(known: _Known, fault: Fault, now_ns: int) -> None:
        known.sick, known.bad_ns, known.strikes = fault, now_ns, 0

    def _describe(self, known: _Known) -> Device:
        well = known.well
        condemned = self._condemned.get(well.uuid) or self._condemned.get(well.parent)
        fault = condemned or known.sick or known.held
        return well if fault is None else sick(well, fault.reason, fault.code)


def ailment(vitals: Vitals | None) -> Fault | None:
    """What a device that is there and answers says is wrong with it. Rows that are remapped at its
    next reset are no fault: new work may begin on it, says NVIDIA's guide to GPU memory errors
    (https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt). Nor is running slower."""
    if vitals is None:
        return None
    if vitals.lost:
        return Fault(OFF_BUS, vitals.error or "fallen off the bus")
    if vitals.error:
        return Fault(DRIVER_ERROR, vitals.error)
    if vitals.rows_failed:
        return Fault(ROWS_FAILED, "it has no spare memory rows left")
    if vitals.ecc_uncorrectable:
        count = vitals.ecc_uncorrectable
        return Fault(ECC_UNCORRECTABLE, f"{count} uncorrectable memory errors since its last reset")
    return None


def is_lasting(code: str) -> bool:
    """Whether no number of good looks mends it."""
    number = code.removeprefix(XID_PREFIX)
    return number != code and number.isdigit() and harm_of(int(number)) is Harm.DEVICE


def sick(device: Device, reason: str, code: str = UNKNOWN_FAULT) -> Device:
    return msgspec.structs.replace(
        device, healthy=False, health_reason=_line(reason), health_code=_line(code)
    )


def fault_said(device: Device) -> Fault:
    """Of an unhealthy one."""
    return Fault(device.health_code or UNKNOWN_FAULT, device.health_reason)


def fault_of(
    devices: dict[str, Device], uuids: Sequence[str], *, at_work: bool = False
) -> tuple[str, str] | None:
    """Why work cannot use these, or go on using them: a code and a sentence that names the device;
    None when it can."""
    for uuid in uuids:
        device = devices.get(uuid)
        if device is None:
            return "device_unknown", f"this node has no device {uuid}"
        if not device.healthy and not (at_work and device.health_code in SPARES_WORK):
            return "device_unhealthy", f"device {uuid} is unhealthy: {device.health_reason}"
    return None


def _healthy(device: Device) -> Device:
    if device.healthy:
        return device
    return msgspec.structs.replace(device, healthy=True, health_reason="", health_code="")


def _line(text: str) -> str:
    """What a description takes of it."""
    text = CONTROL.sub(" ", text)
    return text if len(text) <= TEXT_LETTERS_MAX else text[: TEXT_LETTERS_MAX - 1] + "…"
