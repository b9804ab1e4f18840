"""How do traces of jobs leave the mesh?

A reader of JOBS of its own derives spans and hands them to an OTLP collector, apart from the
ledger: a collector that is slow or away delays traces, never metering. What a collector has not
taken after `EXPORT_S_MAX` is dropped and counted. Its cursor stays behind the oldest job that is
not over, so that after a restart the same spans are derived again, with the same ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock_bus.port import Bus, BusRefusal, Outage, StoredMessage, StreamRewound
from penstock_contracts.journal import JobFact
from penstock_metering.core.spans import SpanFold, SpanRecord
from penstock_metering.threads import OneThread
from penstock_runtime.cursors import Follower, cursor_key, read_cursors
from penstock_runtime.entries import entry_decoder
from penstock_runtime.metrics import Metric

if TYPE_CHECKING:
    from penstock_metering.exports.otlp import Exporter

log = logging.getLogger(__name__)

STREAM = "JOBS"
NAME = "tracing"
SPANS_PER_EXPORT_MAX = 512
EXPORT_S_MAX = 60.0
RETRY_S = 1.0
LOOK_BACK_MAX = 50_000
"""Entries read again after a restart for jobs that are not over; older ones lose their trace."""

_decode = entry_decoder(JobFact)


class TracingFollower:
    """Runs until cancelled."""

    def __init__(self, bus: Bus, endpoint: str) -> None:
        self._bus = bus
        self._endpoint = endpoint
        self._fold = SpanFold()
        self.exported = 0
        self.dropped = 0
        self.failures = 0

    async def run(self) -> None:
        thread = OneThread("otlp")
        exporter = await thread(self._make_exporter)
        try:
            while True:
                follower = await self._open()
                try:
                    await self._follow(follower, exporter, thread)
                except StreamRewound as error:
                    log.critical("%s has lost what was read: %s", STREAM, error)
                finally:
                    await follower.close()
        finally:
            exporter.close()
            thread.close()

    def metrics(self) -> Iterator[Metric]:
        for name, description, value in (
            ("exported", "Spans a collector has taken.", self.exported),
            ("dropped", "Spans given up because no collector took them.", self.dropped),
            ("export_failures", "Exports that failed and were tried again.", self.failures),
        ):
            yield Metric(f"penstock_tracing_{name}", "counter", description, value)

    def _make_exporter(self) -> Exporter:
        from penstock_metering.exports.otlp import Exporter  # slow to import, and only needed here

        return Exporter(self._endpoint)

    async def _open(self) -> Follower:
        self._fold = SpanFold()
        while True:
            try:
                cursor = (await read_cursors(self._bus)).get(cursor_key(STREAM, NAME), 0)
                state = await self._bus.stream_state(STREAM)
                begin = min(max(cursor, state.first_seq - 1), state.last_seq)
                follower = Follower(self._bus, stream=STREAM, name=NAME, after_seq=begin)
                await follower.open()
                return follower
            except (Outage, BusRefusal) as error:
                log.warning("%s cannot be traced yet: %s", STREAM, error)
                await asyncio.sleep(RETRY_S)

    async def _follow(self, follower: Follower, exporter: Exporter, thread: OneThread) -> None:
        while True:
            messages = await follower.next_batch()
            spans = self._derive(messages)
            for start in range(0, len(spans), SPANS_PER_EXPORT_MAX):
                await self._export(exporter, spans[start : start + SPANS_PER_EXPORT_MAX], thread)
            last_seq = messages[-1].seq
            needed = self._fold.needed_from_seq
            behind = last_seq if needed is None else max(needed - 1, last_seq - LOOK_BACK_MAX)
            follower.committed(max(follower.seq_committed, behind))

    def _derive(self, messages: list[StoredMessage]) -> list[SpanRecord]:
        spans: list[SpanRecord] = []
        for message in messages:
            entry = _decode(message)
            if entry is not None:
                spans += self._fold.apply(entry.seq, entry.now_ns, entry.facts)
        return spans

    async def _export(self, exporter: Exporter, spans: list[SpanRecord], thread: OneThread) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + EXPORT_S_MAX
        while not await thread(exporter.export, spans):
            self.failures += 1
            if loop.time() > give_up_at:
                self.dropped += len(spans)
                log.error("no collector took %d spans: dropped", len(spans))
                return
            await asyncio.sleep(RETRY_S)
        self.exported += len(spans)
