"""Is the machine code of the packer there before it is needed?

Compiling it takes seconds on a new installation, loading it a part of one: whoever does this first
is ready when the lock is free. It does not know who leads.
"""

from __future__ import annotations

from penstock_scheduler.core.packing.fleet import empty_node
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.policies import Policy
from penstock_scheduler.core.packing.popularity import Popularity
from penstock_scheduler.core.packing.shapes import PackShape

_SHAPES = (
    PackShape(1, 1),
    PackShape(1, 1, 1, 500),
    PackShape(1, 1, 1, 1000),
    PackShape(1, 1, 2, 1000),
)
_KINDS = (("A", 1), ("B", None))


def load_machine_code(policy: Policy) -> None:
    """Does everything once that a packer does, on a fleet of its own; in any thread."""
    packer = Packer(policy)
    for name in ("one", "two"):
        packer.put(name, empty_node(1_000, 1_000, _KINDS * 2))
    packer.expect(Popularity().workload({"A": 4, "B": 4}))
    for shape in _SHAPES * 2:
        choice = packer.choose(shape, packer.mask(["one"]))
        packer.ranking(shape, 2)
        if choice is not None:
            packer.take(choice, shape)
    packer.remove("one")
