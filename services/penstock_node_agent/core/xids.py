"""What does an XID mean for the device, and for what runs on it?

The numbers and the actions are those of NVIDIA's catalogue for GPUs since Ampere
(https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html, column "immediate action"):
reset or restart of the machine = the device cannot be used before, restart of the application =
its own fault or a lost piece of its work, ignore = nothing. Where the catalogue leads through a
workflow (45, 48, 74) what it most often ends with is written here. A number that is not here is
noted and condemns nothing. It does not know how XIDs are heard of.
"""

from __future__ import annotations

import enum


class Harm(enum.Enum):
    """`DEVICE`: unusable until it is reset, the host is booted or an operator trusts it again.
    `WORK`: what runs on it is lost and not to blame, the device works on. `APPLICATION`: the fault
    of what runs on it, which sees an error itself. `NONE`: worth a note."""

    DEVICE = "device"
    WORK = "work"
    APPLICATION = "application"
    NONE = "none"


_DEVICE = {
    46: "GPU stopped processing",
    48: "double bit ECC error",
    54: "auxiliary power is not connected",
    62: "internal micro-controller halt",
    64: "GPU memory could not be remapped",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    95: "uncontained memory error",
    109: "context switch timeout",
    110: "security fault",
    119: "GSP does not answer",
    120: "GSP error",
    136: "link training failed",
    140: "unrecovered ECC error",
    143: "GPU does not initialise",
    151: "key rotation error",
    155: "NVLink error seen by software",
    156: "a resource was retired, to take effect with a reset",
    158: "fatal timeout of the GPU",
    167: "fatal timeout on PCIe",
    168: "less GPU memory than there was",
    169: "internal micro-controller halt",
}

_WORK = {94: "contained memory error"}

_APPLICATION = {
    8: "GPU stopped processing a channel",
    11: "invalid push buffer stream",
    13: "graphics engine exception",
    25: "illegal push buffer stream",
    31: "GPU memory page fault",
    32: "corrupted push buffer stream",
    43: "GPU stopped processing a channel",
    44: "graphics engine fault during a context switch",
    45: "channels removed after an earlier error",
    60: "video processor exception",
    68: "video decoder exception",
    69: "graphics engine class error",
    80: "corrupted data sent to the GPU",
    86: "optical flow exception",
    139: "optical flow exception",
}
_COPY_ENGINES = (39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136))
_DECODERS = (82, 83, 84, 88, 89, *range(96, 106))

_NONE = {
    37: "driver firmware error",
    38: "driver firmware error",
    63: "GPU memory was remapped",
    66: "illegal access by the driver",
    67: "illegal access by the driver",
    92: "many single bit ECC errors",
    93: "InfoROM is written too often",
    154: "the recovery action has changed",
    171: "uncorrectable error in DRAM",
    172: "uncorrectable error in SRAM",
}

_TABLE: dict[int, tuple[Harm, str]] = {
    **{code: (Harm.DEVICE, text) for code, text in _DEVICE.items()},
    **{code: (Harm.WORK, text) for code, text in _WORK.items()},
    **{code: (Harm.APPLICATION, text) for code, text in _APPLICATION.items()},
    **dict.fromkeys(_COPY_ENGINES, (Harm.APPLICATION, "copy engine exception")),
    **dict.fromkeys(_DECODERS, (Harm.APPLICATION, "video or image engine error")),
    **{code: (Harm.NONE, text) for code, text in _NONE.items()},
}


def harm_of(code: int) -> Harm:
    return _TABLE.get(code, (Harm.NONE, ""))[0]


def sentence(code: int) -> str:
    """`XID 79 (GPU has fallen off the bus)`; of an unknown one the number alone."""
    text = _TABLE.get(code, (Harm.NONE, ""))[1]
    return f"XID {code} ({text})" if text else f"XID {code}"
