"""What is the use of a lease divided into?

The records that rating makes and posting places. They do not know how they are stored.
"""

from __future__ import annotations

import msgspec

RUNNING = "running"
PREPARING = "preparing"
SETTLING = "settling"
FLAT = "flat"
HOST = ""
"""Instead of a device: what belongs to the rank."""

PartKey = tuple[int, str, str, str, int]
"""(day, device, SKU, state, price version)"""


class Part(msgspec.Struct, kw_only=True):
    """Quantities in the SKU's own unit (see `penstock_contracts.prices`). `runs`: 1 where an
    attempt began to run."""

    device: str
    model: str
    sku: str
    price_version: int
    state: str
    day: int
    t0_ms: int
    t1_ms: int
    quantity: int
    billed_quantity: int = 0
    runs: int = 0

    @property
    def key(self) -> PartKey:
        return self.day, self.device, self.sku, self.state, self.price_version
