"""What did the broker keep of it all?

Reads the journals, the public facts, the logs and the cursors of a running cluster while they are
written, before any purge, by connections that no fault touches; and the ledger at the end. It fills
a history and judges nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from penstock_bus.nats import NatsBus
from penstock_bus.port import StoredMessage
from penstock_contracts.journal import (
    LeaseGranted,
    RankExited,
    RankReleased,
    RankStarted,
)
from tests.checkers.history import History, Run
from tests.checkers.observation import CURSORS, note

STREAMS = ("JOBS", "NODES", "FACTS", "LOGS", CURSORS)
SETTLED_S = 3.0
KILLED = (9, 15)


class Observer:
    """Fills `history`. Times are of CLOCK_BOOTTIME: nothing steps a clock meanwhile."""

    def __init__(self, bus: NatsBus, history: History) -> None:
        self.seen = dict.fromkeys(STREAMS, 0)
        self.placed: list[tuple[int, int]] = []
        """(when a grant was stored, term of its scheduler)."""
        self._bus, self._history = bus, history
        self._offset_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.ensure_future(self._follow(stream)) for stream in STREAMS]

    async def settle(self) -> None:
        """Until all that is stored was read; raises what ended a reader."""
        for stream in STREAMS:
            last_seq = (await self._bus.stream_state(stream)).last_seq
            while self.seen[stream] < last_seq:
                self._raise_failure()
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _follow(self, stream: str) -> None:
        reader = await self._bus.reader(stream, after_seq=0)
        while True:
            for message in await reader.next_batch():
                self._note(stream, message)
                self.seen[stream] = message.seq

    def _note(self, stream: str, message: StoredMessage) -> None:
        at_ns = message.time_ns - self._offset_ns
        entry = note(self._history, stream, message, at_ns)
        if entry is None or stream != "JOBS":
            return
        if any(isinstance(fact, LeaseGranted) for fact in entry.facts):
            self.placed.append((at_ns, entry.term))


def add_unwitnessed(history: History) -> int:
    """A process that was killed before it could say that it runs has left no witness: its run is
    taken from the journal. How many there were."""
    seen = {(run.job_id, run.attempt, run.rank) for run in history.runs}
    grants: dict[tuple[str, int, int], tuple[int, Any, LeaseGranted]] = {}
    began: dict[tuple[str, int, int], int] = {}
    added = 0
    for stored in history.jobs_entries:
        for fact in stored.entry.facts:
            if isinstance(fact, LeaseGranted):
                for place in fact.ranks:
                    key = (fact.job_id, fact.attempt, place.rank)
                    grants[key] = (stored.entry.seq, place, fact)
            elif isinstance(fact, RankStarted | RankExited | RankReleased):
                key = (fact.job_id, fact.attempt, fact.rank)
                if isinstance(fact, RankStarted):
                    began[key] = stored.at_ns
                elif key in began and key not in seen and _was_killed(fact):
                    seen.add(key)
                    history.runs.append(_unwitnessed(*grants[key], began[key], fact))
                    added += 1
    return added


def _was_killed(fact: RankExited | RankReleased) -> bool:
    return isinstance(fact, RankReleased) or fact.signal in KILLED or fact.reason == "lost"


def _unwitnessed(
    seq: int, place: Any, grant: LeaseGranted, began_ns: int, fact: RankExited | RankReleased
) -> Run:
    told = fact if isinstance(fact, RankExited) else None
    return Run(
        node=place.node,
        boot_id="",
        tenant="",
        job_id=grant.job_id,
        attempt=grant.attempt,
        rank=place.rank,
        began_ns=began_ns,
        began_boot_ns=began_ns,
        ended_ns=began_ns,
        lease_seq=seq,
        devices=tuple(place.devices),
        gpu_milli=grant.gpu_milli,
        exit_code=None if told is None else told.exit_code,
        signal=None if told is None else told.signal,
        ended_by="unwitnessed",
        output_lost=True,
    )
