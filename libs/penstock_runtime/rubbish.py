"""When does Python look for rubbish?

By itself it looks through all that lives, again and again while much is added: with 100,000 jobs a
scheduler stood still for half a second each time, and took three times as long to read its state.
State has no cycles, so reference counts free it; what lives is set aside every few seconds, and
only what is new is looked through. It does not know what lives.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

SWEEP_S = 5.0
YOUNG_MAX = 10_000
"""Objects made before the youngest are looked through."""
NEVER = 1_000_000_000


@contextmanager
def only_when_swept() -> Iterator[None]:
    """Inside it, Python never looks through everything by itself."""
    before = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, before[1], NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def sweep_for_ever() -> None:
    """Every few seconds: free the rubbish among what is new, and set the rest aside."""
    while True:
        await asyncio.sleep(SWEEP_S)
        gc.collect()
        gc.freeze()
