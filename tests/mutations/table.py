"""Which bugs does the simulation have to find?

All of them in one table. It does not know whether it does.
"""

from __future__ import annotations

from tests.mutations.in_agent import IN_AGENT
from tests.mutations.in_hosts import IN_HOSTS
from tests.mutations.in_metering import IN_METERING
from tests.mutations.in_money import IN_MONEY
from tests.mutations.in_placement import IN_PLACEMENT
from tests.mutations.in_queue import IN_QUEUE
from tests.mutations.in_runtime import IN_RUNTIME
from tests.mutations.in_scheduler import IN_SCHEDULER

MUTATIONS = (
    *IN_RUNTIME, *IN_SCHEDULER, *IN_PLACEMENT, *IN_AGENT, *IN_HOSTS, *IN_METERING, *IN_MONEY,
    *IN_QUEUE,
)  # fmt: skip
FAST = tuple(mutation for mutation in MUTATIONS if mutation.fast)
