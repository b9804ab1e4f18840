"""What does an NVIDIA device say of its own health?

Raw: which of it makes a device unfit for work is judged in `core.devices`.
"""

from __future__ import annotations

from typing import Any

from penstock_node_agent.drivers.nvml_calls import DeviceFailed, DeviceLost
from penstock_node_agent.drivers.nvml_cards import Card
from penstock_node_agent.drivers.port import (
    HARDWARE,
    POWER,
    POWER_BRAKE,
    TEMPERATURE,
    Vitals,
)

RECENT_S = 15.0
UNCORRECTED, SINCE_DRIVER_LOAD = 1, 0
TEMPERATURE_GPU = 0
REASONS = (
    (TEMPERATURE, 0x20 | 0x40),
    (POWER, 0x04),
    (POWER_BRAKE, 0x80),
)
HARDWARE_SLOWDOWN = 0x08
"""Bits of nvmlClocksEventReasons: SwThermalSlowdown, HwThermalSlowdown, SwPowerCap,
HwPowerBrakeSlowdown; HwSlowdown comes with one of the hardware's, or alone."""


class _Questions:
    """Asks one card; remembers the first thing that went wrong."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self.lost = False
        self.error = ""

    def ask(self, call: str, *arguments: Any) -> Any:
        if self.lost:
            return None
        try:
            return self._card.must(call, self._card.handle, *arguments)
        except DeviceLost as error:
            self.lost = True
            self.error = str(error)
        except DeviceFailed as error:
            self.error = self.error or f"{call}: {error}"
        return None


def recent_vitals_of(card: Card, now_s: float) -> Vitals:
    """The same, at most so old: whoever watches health asks for them anyway."""
    told = card.vitals
    return told[1] if told is not None and now_s - told[0] <= RECENT_S else vitals_of(card, now_s)


def vitals_of(card: Card, now_s: float) -> Vitals:
    """The GPU's own; its instances have the same under their names. Raises DriverSilent."""
    vitals = _ask(card)
    card.vitals = now_s, vitals
    return vitals


def _ask(card: Card) -> Vitals:
    questions = _Questions(card)
    questions.ask("nvmlDeviceGetTemperature", TEMPERATURE_GPU)
    errors = None
    if card.ecc is not False:
        errors = questions.ask("nvmlDeviceGetTotalEccErrors", UNCORRECTED, SINCE_DRIVER_LOAD)
    rows = questions.ask("nvmlDeviceGetRemappedRows")
    bits = questions.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if bits is None:  # drivers before 535
        bits = questions.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return Vitals(
        uuid=card.uuid,
        index=card.index,
        lost=questions.lost,
        error=questions.error,
        ecc_uncorrectable=errors,
        rows_correctable=None if rows is None else rows[0],
        rows_uncorrectable=None if rows is None else rows[1],
        rows_pending=None if rows is None else bool(rows[2]),
        rows_failed=None if rows is None else bool(rows[3]),
        throttled=None if bits is None else _throttled(bits),
    )


def _throttled(bits: int) -> tuple[str, ...]:
    found = tuple(word for word, mask in REASONS if bits & mask)
    return found or ((HARDWARE,) if bits & HARDWARE_SLOWDOWN else ())
