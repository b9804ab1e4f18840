"""How much CPU and memory does this host have?"""

from __future__ import annotations

import os

from penstock_node_agent.drivers.port import Capacity


def host_capacity() -> Capacity:
    """What this process may use of the host: its CPUs and the physical memory."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Capacity(cpu_milli=len(os.sched_getaffinity(0)) * 1000, memory_mib=memory_bytes >> 20)
