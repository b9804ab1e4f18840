"""What is still on a device that nobody should use?

Processes of work that this node has started, and memory beyond what the driver keeps to itself and
a bound for what an idle host needs. It does not know how either is found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PIDS_NAMED_MAX = 4


def what_is_left(
    used_mib: int | None, pids: Sequence[int], idle_mib: int, owners: Mapping[int, str]
) -> str:
    """A sentence; empty when nothing is. `owners`: the lease to which a process belongs, empty =
    none of this node. What the device does not say is no reason to withhold it.
    """
    ours = [f"process {pid} of lease {owners[pid]}" for pid in pids if owners.get(pid)]
    if ours:
        return f"{_listed(ours)} is still on it"
    if used_mib is None or used_mib <= idle_mib:
        return ""
    others = [f"process {pid}" for pid in pids]
    by = f"by {_listed(others)}, not started by this node" if others else "by no known process"
    return f"{used_mib} MiB of its memory are in use {by}"


def _listed(names: list[str]) -> str:
    more = len(names) - PIDS_NAMED_MAX
    return ", ".join(names[:PIDS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
