"""What can happen to a container?

It does not know who tells, nor what follows.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Begun(NamedTuple):
    """It runs; `pid`: its first process, on the host."""

    key: str
    pid: int


class Over(NamedTuple):
    """It has ended; not `begun`: it never ran. Exactly one of `code` and `signal`, or a `reason`
    that explains neither; beside them a reason says more. `at_ns` None: `ago_ns` ago."""

    key: str
    code: int | None
    signal: int | None
    reason: str = ""
    message: str = ""
    begun: bool = True
    at_ns: int | None = None
    ago_ns: int = 0


class Away(NamedTuple):
    """Nothing is left of it."""

    key: str


class Detached(NamedTuple):
    """It runs, and may not open its devices any more, as it could before."""

    key: str


class Stray(NamedTuple):
    """It is ours, as its labels say. `told`: all that is needed to remove it."""

    key: str
    told: dict[str, Any]


Happening = Begun | Over | Away | Detached | Stray
