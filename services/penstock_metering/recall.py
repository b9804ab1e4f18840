"""What if the entries that told of the nodes are gone?

NODES tells only what changes. When a stretch of it was discarded unread, inventory is asked for all
nodes as they are, and the ledger goes on from that. It does not know what nodes are worth.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import Answer, NodesQuery, NodesView
from penstock_metering.ledger.ingest import NODES, DatabaseBusy, Ingest
from penstock_metering.progress import Progress
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 5.0
ANSWER_S_MAX = 5.0
_decode = msgspec.json.Decoder(Answer[NodesView]).decode


class Recall:
    def __init__(
        self, bus: Bus, ingest: Ingest, progress: Progress, run: Run, clock: Clock
    ) -> None:
        self._bus = bus
        self._ingest = ingest
        self._progress = progress
        self._run = run
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. Raises Superseded."""
        while True:
            if self._ingest.lacks_nodes:
                await self._try()
            await asyncio.sleep(LOOK_S)

    async def _try(self) -> None:
        try:
            seq, nodes = await self._ask()
            await asyncio.wait_for(self._progress.reach(NODES, seq), ANSWER_S_MAX)
            now_ms = self._clock.now_ns() // 1_000_000
            if await self._run(self._ingest.adopt, seq, nodes, now_ms):
                log.warning("%d nodes are known from inventory's answer", len(nodes))
        except (Outage, BusRefusal, DatabaseBusy, TimeoutError, *MALFORMED) as error:
            log.warning("inventory is asked again for its nodes: %s", error)

    async def _ask(self) -> tuple[int, list[NodeView]]:
        """All nodes, as of one sequence of NODES. Raises Outage when that moved meanwhile."""
        found: list[NodeView] = []
        seq: int | None = None
        while True:
            after = found[-1].description.node if found else ""
            question = msgspec.json.encode(NodesQuery(after))
            subject = f"{ROOT}.query.inventory.nodes"
            reply = await self._bus.request(subject, question, timeout_s=ANSWER_S_MAX)
            view = _decode(reply.payload).value
            if view is None or seq not in (None, view.seq):
                raise Outage("inventory cannot say now which nodes there are")
            seq = view.seq
            found += view.nodes
            if not view.more:
                return seq, found
