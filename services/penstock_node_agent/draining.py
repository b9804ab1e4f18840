"""How does a node become empty before its agent ends?

It takes nothing new, which everybody hears of, and what runs may come to its end and be told. It
does not stop anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from penstock_node_agent.agent import Agent
from penstock_node_agent.core.events import Closed
from penstock_node_agent.core.state import OVER
from penstock_runtime.clock import Clock

DRAINING = "draining"
POLL_S = 0.5

log = logging.getLogger(__name__)


async def drain(
    agent: Agent, clock: Clock, tasks: Sequence[asyncio.Task[None]], seconds: float
) -> None:
    """Returns when nothing of any lease is here and all is told, after so many seconds, or when one
    of the agent's tasks has ended."""
    reason = "its agent is about to stop"
    agent.take(Closed(at_ns=clock.boottime_ns(), code=DRAINING, reason=reason))
    agent.hurry()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not _is_empty(agent):
        left_s = deadline - loop.time()
        if left_s <= 0:
            log.warning("stops before it is empty", extra=agent.counts())
            return
        timeout_s = min(POLL_S, left_s)
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return


def _is_empty(agent: Agent) -> bool:
    leases = agent.state.leases.values()
    return all(lease.stage == OVER for lease in leases) and agent.owes_nothing()
