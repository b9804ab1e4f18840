"""Which TCP ports may the mesh use?

Free ones for its servers, and for every node a range of its own outside the range from which the
kernel takes ports for outgoing connections. It does not know who listens there later.
"""

from __future__ import annotations

import random
import socket
from itertools import islice
from pathlib import Path

EPHEMERAL_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS_PER_NODE = 64
PORT_FIRST = 10_000
"""Below it, services that people know by their port live."""
PORT_LAST = 65_535
PORT_TRIES_MAX = 200


class PortsError(Exception):
    """No port, or not enough of them. The sentence says which and why."""


def choose_port(
    bind: str, wanted: int | None, default: int, *, previous: int | None, flag: str
) -> int:
    """`wanted` must be free (0 = any); without it the default, or any when that is taken. Any means
    the previous one if it is free, so that who was connected to it finds the mesh again.
    """
    if wanted is not None and wanted != 0:
        if not is_free(bind, wanted):
            raise PortsError(
                f"port {wanted} on {bind} is taken or not allowed; choose another {flag}"
            )
        return wanted
    if wanted is None and is_free(bind, default):
        return default
    if previous is not None and is_free(bind, previous):
        return previous
    return any_free_port(bind)


def is_free(bind: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def any_free_port(bind: str) -> int:
    """A free port that no outgoing connection is given, so that it is still free after a restart.

    Drawn at random: meshes that start at the same moment shall not try the same one.
    """
    return any_free_ports(bind, 1)[0]


def any_free_ports(bind: str, count: int) -> list[int]:
    """The same, so many different ones."""
    low, high = ephemeral_range()
    candidates = [*range(PORT_FIRST, low), *range(high + 1, PORT_LAST + 1)]
    drawn: list[int] = random.sample(candidates, min(PORT_TRIES_MAX, len(candidates)))
    free = list(islice((port for port in drawn if is_free(bind, port)), count))
    if len(free) < count:
        raise PortsError(f"no free port on {bind} outside the ephemeral range {low}-{high}")
    return free


def ephemeral_range() -> tuple[int, int]:
    """First and last port that the kernel gives to outgoing connections."""
    low, high = EPHEMERAL_RANGE_FILE.read_text("ascii").split()
    return int(low), int(high)


def node_port_ranges(count: int) -> list[int]:
    """The first ports of `count` disjoint ranges of PORTS_PER_NODE, none of them ephemeral.

    The same every time. Whether a port is free then and there is for the agent to test.
    """
    low, high = ephemeral_range()
    above = range(high + 1, PORT_LAST + 2 - PORTS_PER_NODE, PORTS_PER_NODE)
    below = range(PORT_FIRST, low + 1 - PORTS_PER_NODE, PORTS_PER_NODE)
    starts = [*above, *below]
    if len(starts) < count:
        raise PortsError(
            f"{count} nodes need {count * PORTS_PER_NODE} ports outside {low}-{high} "
            f"({EPHEMERAL_RANGE_FILE}); there are {len(starts) * PORTS_PER_NODE}"
        )
    return starts[:count]
