"""What of an attempt's output is stored, and what was given up?

Offsets go forward; what there was no room for is a range of its own until the stream says so in its
place. It does not know the files, nor how much room there is.
"""

from __future__ import annotations

from penstock_node_agent.core.endings import free_spool
from penstock_node_agent.core.events import LogsCut, LogsDelivered, LogsDropped
from penstock_node_agent.core.instructions import Instruction
from penstock_node_agent.core.state import Drop, Spool, State


def delivered(state: State, event: LogsDelivered, todo: list[Instruction]) -> None:
    """Everything up to there is stored, or said to be dropped."""
    spool = state.spools.get(event.key)
    if spool is None:
        return
    if event.stream == "stdout":
        spool.out = max(spool.out, event.offset)
    else:
        spool.err = max(spool.err, event.offset)
    if spool.drops:
        spool.drops = [
            drop for drop in spool.drops if drop.stream != event.stream or drop.end > event.offset
        ]
    free_spool(state, event.key, todo)


def dropped(state: State, event: LogsDropped, todo: list[Instruction]) -> None:
    """From `start` to `end` is given up; a range that begins there already becomes longer."""
    spool = state.spools.get(event.key)
    if spool is None:
        return
    range_ = Drop(event.stream, event.start, event.end)
    for number, drop in enumerate(spool.drops):
        if (drop.stream, drop.start) == (event.stream, event.start):
            spool.drops[number] = range_
            return
    spool.drops.append(range_)


def cut_off(state: State, event: LogsCut, todo: list[Instruction]) -> None:
    spool = state.spools.get(event.key)
    if spool is not None:
        spool.bases[event.stream] = event.offset


def progress(spool: Spool, stream: str) -> tuple[int | None, int]:
    """(final size or None, bytes stored) of one stream."""
    if stream == "stdout":
        return spool.out_final, spool.out
    return spool.err_final, spool.err
