"""What can this host do for a job beyond running it, and how?

Found out by trying, once, when the reaper starts; the words are those of `penstock_contracts.work`.
It does not know what jobs ask for.
"""

from __future__ import annotations

import os
from typing import Any

from penstock_node_agent.reaper import cgroups, privileges
from penstock_node_agent.reaper.limits import CONTROLLERS, Limits
from penstock_node_agent.reaper.processes import Processes
from penstock_node_agent.reaper.tracking import THREADED, tracking

GROUPS, NO_GROUPS = "cgroups", "none: process groups, sessions and a subreaper"


def equip(processes: Processes, identity: str) -> None:
    """Give the processes what control groups there are, and what an earlier reaper left in its
    own."""
    if not identity:
        return
    hierarchies = cgroups.this_process()
    roots = {cgroups.root_of(path) for path in hierarchies.values()}
    bases = cgroups.left_of(identity, sorted(roots))
    processes.stale = [group for base in bases for group in cgroups.groups_in(base)]
    processes.tracking = found = tracking(identity, hierarchies)
    if found is not None:
        unified = found.base if found.kind == THREADED else None
        processes.limits = Limits(identity, hierarchies, unified)


def offers_and_facts(processes: Processes) -> dict[str, Any]:
    """As told to every agent: `offers`, words, and `facts`, sentences by topic."""
    versions = processes.limits.versions if processes.limits is not None else {}
    root = os.geteuid() == 0
    offers = [
        word
        for word, given in (
            ("paid_time", True),
            ("memory_limit", "memory" in versions),
            ("pids_limit", "pids" in versions),
            ("private_tmp", _can_hide_tmp()),
            ("users", root),
        )
        if given
    ]
    kind = processes.tracking.kind if processes.tracking is not None else ""
    how = {"": NO_GROUPS, THREADED: "version 2, threaded"}.get(kind, "version 1")
    limited = [f"{name} by version {versions[name]}" for name in CONTROLLERS if name in versions]
    facts = {GROUPS: "; ".join([how, *limited])}
    if processes.tracking is not None and ".scope" in processes.tracking.base:
        facts["systemd"] = "a scope of its own"
    return {"offers": offers, "facts": facts}


def _can_hide_tmp() -> bool:
    """Tried in a child, which ends with it."""
    pid = os.fork()
    if pid == 0:
        try:
            privileges.hide_tmp("/", 1)
            os._exit(0)
        except OSError:
            os._exit(1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
