"""What have finished attempts left behind?

Whatever a job starts stays below this subreaper, wherever it hides: when its parent dies it becomes
this process's child. So an attempt is gone when none of the children belongs to it. Only what a
reaper that died left has to be looked for among all processes. What was killed is there until the
kernel has taken it apart, memory and open devices too, although it no longer says whose it is. It
does not know when to look.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import NamedTuple

from penstock_node_agent.reaper.attempts import Attempt
from penstock_node_agent.reaper.processes import TICK_NS, Processes


class Dying(NamedTuple):
    """Whose it was, and when it began, in clock ticks since boot: its number may go to another."""

    key: str
    start_ticks: int


def kill_leftovers(
    processes: Processes,
    directory: str,
    mains: Mapping[int, Attempt],
    clearing: Mapping[str, Attempt],
    spared: Callable[[int], bool] = lambda pid: False,
    dying: dict[int, Dying] | None = None,
) -> set[str]:
    """Kill what belongs to the attempts in `clearing`; returns those of which something was there.

    `mains`: the running attempts' main processes by pid; `spared`: whether a child is none of an
    attempt's; `dying`: what was killed and nobody's child, by pid, kept here. When this process has
    no other children, there is nothing to do.
    """
    dying = {} if dying is None else dying
    own = [pid for pid in processes.children() if pid not in mains and not spared(pid)]
    fresh = {attempt.key for attempt in clearing.values() if not attempt.old}
    old = len(fresh) < len(clearing)
    pids = processes.everything() if old else own
    for pid, one in list(dying.items()):
        if processes.start_ticks(pid) != one.start_ticks:
            del dying[pid]
    left = {one.key for one in dying.values()} & clearing.keys()
    for pid in pids:
        if pid in mains:
            continue
        key = _owner(processes, pid, directory, mains, clearing)
        if key is not None and key in clearing:
            left.add(key)
            ticks = processes.start_ticks(pid) if old else None
            if ticks is not None:
                dying[pid] = Dying(key, ticks)
            processes.kill(pid, signal.SIGKILL)
        elif not key and fresh and pid in own:  # hides where it came from, or dies
            left.update(fresh)
            processes.kill(pid, signal.SIGKILL)
    return left


def marked_keys(processes: Processes, directory: str) -> list[str]:
    """The attempts of which some process says that it belongs to one of this state directory."""
    marks = (processes.mark_of(pid, f"{directory}:") for pid in processes.everything())
    return sorted({key for key in marks if key})


def _owner(
    processes: Processes,
    pid: int,
    directory: str,
    mains: Mapping[int, Attempt],
    clearing: Mapping[str, Attempt],
) -> str | None:
    """Whose process this is, by control group, session or mark; "" = nobody's, None = not to be
    told.

    A session whose leader began after the attempt is another's, to whom the number has come.
    """
    slot = processes.slot_of(pid)
    if slot is not None:
        for attempt in (*mains.values(), *clearing.values()):
            if attempt.slot == slot:
                return attempt.key
    session = processes.session_of(pid)
    if session is None:
        return None
    if session in mains:
        return mains[session].key
    for attempt in clearing.values():
        if attempt.pid == session and session:
            ticks = processes.start_ticks(pid)
            if ticks is None:
                return None
            leader = processes.start_ticks(session)
            taken_over = leader is not None and leader * TICK_NS > attempt.began_ns
            if (ticks + 1) * TICK_NS >= attempt.began_ns and not taken_over:
                return attempt.key
    return processes.mark_of(pid, f"{directory}:")
