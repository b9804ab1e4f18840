"""How is an audit carried out?

Waits until the journals are folded far enough, has every node that answers close its books, waits
until what they sent is in the ledger, then compares. All within `AUDIT_S_MAX`, longer for a large
fleet. It does not know how the comparison works.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.queries import Empty, Finding, MeteringAudit, MeteringAuditQuery
from penstock_contracts.usage import AuditReply
from penstock_metering.core.conservation import Balance
from penstock_metering.deriving import Deriver
from penstock_metering.ledger.fence import Superseded
from penstock_metering.ledger.ingest import JOBS, NODES, USAGE, DatabaseBusy
from penstock_metering.progress import Progress
from penstock_metering.reading import FINDINGS_MAX, Library
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock

log = logging.getLogger(__name__)

AUDIT_S_MAX = 15.0
CATCH_UP_S_MAX = 5.0
NODE_S_MAX = 5.0
"""A node that has not closed its books by then is listed as silent."""
INGEST_S_MAX = 4.0
EACH_NODE_S = 0.004
"""More time for each node: each has closed its books, and is derived; that takes 1 ms of CPU."""
NODES_AT_ONCE_MAX = 1_000

_request = msgspec.json.encode(Empty())
_decode_reply = msgspec.json.Decoder(AuditReply).decode


class NotCaughtUp(Exception):
    """Metering is too far behind to audit; the sentence says where."""


class Auditor:
    """One audit at a time; `last_findings` is None until one was done."""

    def __init__(
        self,
        bus: Bus,
        library: Library,
        progress: Progress,
        run: Run,
        clock: Clock,
        deriver: Deriver,
    ) -> None:
        self._bus = bus
        self._library = library
        self._progress = progress
        self._run = run
        self._deriver = deriver
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self.last_findings: int | None = None

    async def audit(self, query: MeteringAuditQuery) -> MeteringAudit | Refusal:
        """The comparison, or why there is none."""
        try:
            async with asyncio.timeout(AUDIT_S_MAX) as limit, self._one_at_a_time:
                await self._catch_up({JOBS: query.jobs_seq, NODES: query.nodes_seq}, CATCH_UP_S_MAX)
                nodes = await self._run(self._library.nodes)
                more_s = len(nodes) * EACH_NODE_S
                limit.reschedule((limit.when() or 0.0) + more_s)
                answered = await self._close_books([n.node for n in nodes if n.answers])
                heard = frozenset(answered)
                silent = sorted({node.node for node in nodes} - heard)
                await self._catch_up(
                    {USAGE: max(answered.values(), default=0)}, INGEST_S_MAX + more_s
                )
                grants = await self._run(self._library.newest_lease_seq)
                await self._catch_up({JOBS: grants}, INGEST_S_MAX)
                await self._deriver.catch_up()
                return await self._run(self._compare, query, heard, tuple(silent))
        except NotCaughtUp as error:
            return Refusal("unavailable", str(error))
        except (DatabaseBusy, Superseded):
            return Refusal("unavailable", "the ledger cannot be written now; ask again")
        except TimeoutError:
            return Refusal("unavailable", "the audit did not end in time; ask again later")

    async def _catch_up(self, wanted: dict[str, int], within_s: float) -> None:
        for stream, seq in wanted.items():
            try:
                await asyncio.wait_for(self._progress.reach(stream, seq), within_s)
            except TimeoutError:
                here = self._progress.committed.get(stream, 0)
                raise NotCaughtUp(
                    f"metering has read {stream} up to {here}, not yet to {seq}; ask again later"
                ) from None

    async def _close_books(self, nodes: list[str]) -> dict[str, int]:
        """Where in USAGE each node that answered has put everything it owed."""
        limit = asyncio.Semaphore(NODES_AT_ONCE_MAX)
        seqs = await asyncio.gather(*(self._close_one(node, limit) for node in nodes))
        return {node: seq for node, seq in zip(nodes, seqs, strict=True) if seq is not None}

    async def _close_one(self, node: str, limit: asyncio.Semaphore) -> int | None:
        subject = f"{ROOT}.node.{node}.audit"
        try:
            async with limit:
                message = await self._bus.request(subject, _request, timeout_s=NODE_S_MAX)
            reply = _decode_reply(message.payload)
        except (Outage, BusRefusal, *MALFORMED) as error:
            log.warning("node %s did not close its books: %s", node, error, extra={"node": node})
            return None
        if reply.node != node or reply.usage_seq <= 0:
            log.warning("node %s could not store its books", node, extra={"node": node})
            return None
        return reply.usage_seq

    def _compare(
        self, query: MeteringAuditQuery, answered: frozenset[str], silent: tuple[str, ...]
    ) -> MeteringAudit:
        """Runs off the event loop."""
        now_ms = self._clock.now_ns() // 1_000_000
        result = self._library.balance(answered, query.jobs_seq, now_ms)
        counts = self._library.counts(query.jobs_seq)
        findings = [*self._library.findings(), *result.findings]
        self.last_findings = len(findings)
        return MeteringAudit(
            jobs_seq=query.jobs_seq,
            nodes_seq=query.nodes_seq,
            watermark_ms=_watermark_ms(result, now_ms),
            accepted=counts.accepted,
            finished=counts.finished,
            unaccounted_ms=result.unaccounted_ms,
            device_milli_ms=result.milli_ms,
            capacity_milli_ms=result.capacity_milli_ms,
            silent=silent,
            findings=_bounded(findings),
        )


def _watermark_ms(result: Balance, now_ms: int) -> int:
    return now_ms if result.watermark_ms is None else result.watermark_ms


def _bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    if len(findings) <= FINDINGS_MAX:
        return tuple(findings)
    more = Finding("more", f"{len(findings) - FINDINGS_MAX} further findings are left out")
    return (*findings[:FINDINGS_MAX], more)
