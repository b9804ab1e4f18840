"""What may the core tell the shell to do?

Each is safe to repeat and chooses nothing. It does not know how any of it is done.
"""

from __future__ import annotations

import msgspec


class Ready(msgspec.Struct, frozen=True):
    """Get what the lease needs around its command and answer by Readied."""

    key: str


class Finish(msgspec.Struct, frozen=True):
    """Stop getting ready, store outputs, take away what was made for the lease, see that its
    devices are free of it, and answer by Finished."""

    key: str


class Spawn(msgspec.Struct, frozen=True):
    """Have the reaper start the lease's program, in its slot. A key it knows is not started
    again."""

    key: str


class Stop(msgspec.Struct, frozen=True):
    """Have the reaper send SIGTERM, or `signal`, and SIGKILL after `grace_s`."""

    key: str
    reason: str
    grace_s: int
    signal: str = ""


class Extend(msgspec.Struct, frozen=True):
    """Have the reaper let it run for so long in all."""

    key: str
    paid_ms: int


class Forget(msgspec.Struct, frozen=True):
    """The journal holds the attempt's end: the reaper need not remember it."""

    key: str


class FindPort(msgspec.Struct, frozen=True):
    """Find a free port for rank 0 and answer by PortFound."""

    key: str


class Ship(msgspec.Struct, frozen=True):
    """Output of this attempt may be unpublished; its final size may be known now."""

    key: str


class Clear(msgspec.Struct, frozen=True):
    """Empty the slot and answer by SlotCleared, when the journal that says so is on the disk.
    `silent`: nothing was written to its spool files, and it may be used again; else all of it
    goes."""

    slot: int
    silent: bool = False


Instruction = Ready | Finish | Spawn | Stop | Extend | Forget | FindPort | Ship | Clear
