"""Which orders do tests of the node agent give?

The only place where they are made. It does not know who takes them.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from penstock_contracts.ids import ulid
from penstock_contracts.leases import RUN, LeaseOrder

_numbers = itertools.count(1)
BASE_MS = 1_700_000_000_000


def an_order(**changes: Any) -> LeaseOrder:
    """A single-rank job that runs `true`; every call is another job."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "lease_seq": number,
        "job_id": ulid(BASE_MS + number, number),
        "tenant": "acme",
        "attempt": 1,
        "rank": 0,
        "phase": RUN,
        "granted_ns": BASE_MS * 1_000_000 + number,
        "command": ("true",),
    }
    return LeaseOrder(**{**values, **changes})


def a_shell_order(script: str, **changes: Any) -> LeaseOrder:
    """A job that runs a shell script, granted now."""
    changes.setdefault("granted_ns", time.time_ns())
    return an_order(command=("/bin/sh", "-c", script), **changes)
