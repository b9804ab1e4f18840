"""How much waits of somebody?

Jobs, the size of their requests, and how many of each shape. It does not know in which order.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_scheduler.core.shapes import Shape

_encode = msgspec.json.Encoder().encode


def size_of(spec: JobSpec) -> int:
    """What a request takes up, in bytes."""
    return len(_encode(spec))


class Share(msgspec.Struct):
    """What waits of somebody: how many jobs, how large their requests are together, and how many
    of each shape."""

    jobs: int = 0
    bytes: int = 0
    shapes: dict[Shape, int] = {}

    def count(self, sign: int, size: int, shape: Shape | None = None) -> None:
        self.jobs += sign
        self.bytes += sign * size
        if shape is not None:
            self.shapes[shape] = self.shapes.get(shape, 0) + sign
            if not self.shapes[shape]:
                del self.shapes[shape]
