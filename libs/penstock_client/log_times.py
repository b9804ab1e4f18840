"""Where in the stream LOGS does a time begin?

The broker stamps what it stores; sequences ascend with its clock. It does not know what is stored.
"""

from __future__ import annotations

from penstock_bus.port import Bus
from penstock_client.log_gaps import STREAM

FIRST_STEP = 1024


async def before(bus: Bus, subject: str, time_ns: int) -> int:
    """A sequence behind which every message of the subject filter was stored at `time_ns` or later,
    and up to which none was; 0 when all were. Raises Outage and BusRefusal."""

    async def is_early(seq: int) -> int | None:
        """The first message's sequence from there on, if it was stored before."""
        message = await bus.read_next(STREAM, seq, subject)
        return message.seq if message is not None and message.time_ns < time_ns else None

    low, step = 0, FIRST_STEP
    while (found := await is_early(low + step if low else 1)) is not None:
        step = 2 * step if low else step
        low = found
    if low == 0:
        return 0
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        found = await is_early(middle)
        low, high = (low, middle) if found is None else (found, high)
    return low
