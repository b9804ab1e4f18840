"""Which port can rank 0 listen on?

Tries the agent's range in turn, by binding. It does not know who asks; the port is journaled by the
caller before it is told.
"""

from __future__ import annotations

import socket
from collections.abc import Callable


class PortRange:
    """`first` to `last`, both included. Ports that are named in `taken` are not given again."""

    def __init__(self, first: int, last: int, is_free: Callable[[int], bool]) -> None:
        self._first, self._last, self._is_free = first, last, is_free
        self._next = first

    def find(self, taken: set[int]) -> int | None:
        """A port that could be bound just now; None when the whole range is taken."""
        for _ in range(self._first, self._last + 1):
            port = self._next
            self._next = port + 1 if port < self._last else self._first
            if port not in taken and self._is_free(port):
                return port
        return None


def can_bind(address: str, port: int) -> bool:
    """Whether a job could listen there just now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def parse_port_range(text: str) -> tuple[int, int]:
    """`A-B` with 1 ≤ A ≤ B ≤ 65535; raises ValueError."""
    first, dash, last = text.partition("-")
    if not dash or not first.isdigit() or not last.isdigit():
        raise ValueError(f"a port range is written FIRST-LAST, not {text!r}")
    if not 1 <= int(first) <= int(last) <= 65_535:
        raise ValueError(f"port range {text} must lie within 1-65535")
    return int(first), int(last)
