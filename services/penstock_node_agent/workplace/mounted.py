"""Which files of the host may jobs name?

Those below the prefixes that its operator allows, `{tenant}` in a prefix standing for the job's.
It does not know who reads or writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock_contracts.work import FILE
from penstock_node_agent.workplace.unready import JOB, NODE, Unready


def split_place(place: str, prefixes: Sequence[str], tenant: str) -> tuple[str, str]:
    """(the allowed prefix that `file:/PATH` is below, or is, the rest of the path). Raises
    Unready."""
    path = place.removeprefix(FILE)
    parts = [part for part in path.split("/") if part]
    if ".." in parts or not path.startswith("/"):
        raise Unready("path_not_allowed", f"{path} is not an absolute path without '..'", JOB)
    for prefix in prefixes:
        root = [part for part in prefix.replace("{tenant}", tenant).split("/") if part]
        if parts[: len(root)] == root:
            return "/" + "/".join(root), "/".join(parts[len(root) :])
    raise Unready("path_not_allowed", f"this node does not let jobs use {path}", NODE)
