"""How does the agent ask the depot, which keeps tenants' files and secrets?

By request and answer, for a lease that this node holds; asked again while nobody answers, for so
long and no longer. It does not know where files are put.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from nacl.public import PrivateKey, SealedBox

from penstock_bus.port import Bus, Outage
from penstock_contracts.depot import (
    Chunk,
    ChunkData,
    ChunkQuery,
    File,
    LeaseName,
    NodeChunk,
    NodeChunkQuery,
    NodeFile,
    NodeFileQuery,
    NodeSecrets,
    NodeSecretsQuery,
)
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.queries import Answer, Empty
from penstock_node_agent.workplace.unready import JOB, NODE, Unready

ANSWER_S = 5.0
KEEP_S = 300.0
"""The depot reads all of a file before its name means it."""
RETRY_S = 0.5
PATIENCE_S = 120.0
"""How long nobody may answer before it is the node's fault."""
STORE_PATIENCE_S = 900.0
"""The same for what a job has made: without it, its work was for nothing."""
NOT_HELD_S_MAX = 15.0
"""How long the scheduler may not have told yet that this node holds the lease."""
AT_ONCE = 8
"""Chunks that are under way."""
NOT_HELD = "not_held"
PASSING = frozenset({"unavailable", NOT_HELD})
"""Refusals that time may mend."""
NODES_FAULT = frozenset({NOT_HELD, "unavailable", "depot_full"})

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_decode_texts = msgspec.json.Decoder(dict[str, str]).decode


class DepotLink:
    """`node`: this one."""

    def __init__(
        self,
        bus: Bus,
        node: str,
        *,
        draw_key: Callable[[], PrivateKey] = PrivateKey.generate,
        patience_s: float = PATIENCE_S,
        store_patience_s: float = STORE_PATIENCE_S,
    ) -> None:
        self._bus, self._draw_key = bus, draw_key
        self._patience_s, self._store_patience_s = patience_s, store_patience_s
        self._root = f"{ROOT}.depot.node.{node}"

    async def find(self, order: LeaseOrder, name: str) -> File:
        """Raises Unready, as all of these."""
        question = NodeFileQuery(**_lease(order), name=name)
        return await self._ask("find", question, Answer[File])

    async def read(self, order: LeaseOrder, file: File, index: int) -> bytes:
        part = ChunkQuery(file.name, file.upload, index)
        question = NodeChunkQuery(**_lease(order), part=part)
        return (await self._ask("read", question, Answer[ChunkData])).data

    async def write(
        self, order: LeaseOrder, name: str, upload: str, index: int, data: bytes
    ) -> None:
        part = Chunk(name, upload, index, data)
        question = NodeChunk(**_lease(order), part=part)
        await self._ask("write", question, Answer[Empty], self._store_patience_s)

    async def keep(self, order: LeaseOrder, file: File) -> None:
        """The name means these chunks from now on."""
        question = NodeFile(**_lease(order), file=file)
        await self._ask("keep", question, Answer[File], self._store_patience_s, KEEP_S)

    async def secrets(self, order: LeaseOrder) -> dict[str, str]:
        """The texts of all secrets that the job names."""
        key = self._draw_key()
        question = NodeSecretsQuery(**_lease(order), key=bytes(key.public_key))
        answer = await self._ask("secrets", question, Answer[NodeSecrets])
        return _decode_texts(SealedBox(key).decrypt(answer.sealed))

    async def _ask(
        self,
        verb: str,
        question: LeaseName,
        kind: type[Answer[T]],
        patience_s: float | None = None,
        timeout_s: float = ANSWER_S,
    ) -> T:
        subject, payload = f"{self._root}.{verb}", _encode(question)
        patience_s = self._patience_s if patience_s is None else patience_s
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            try:
                message = await self._bus.request(subject, payload, timeout_s=timeout_s)
                answer = msgspec.json.decode(message.payload, type=kind)
            except Outage as error:
                failure = Unready("no_depot", f"the depot does not answer: {error}", NODE)
            except MALFORMED as error:
                raise Unready(
                    "no_depot", f"the depot's answer is unreadable: {error}", NODE
                ) from None
            else:
                if answer.value is not None:
                    return answer.value
                failure = _unready(answer.refusal)
                if failure.code not in PASSING:
                    raise failure
            if failure.code == NOT_HELD:
                patience_s = min(patience_s, NOT_HELD_S_MAX)
            if loop.time() >= began_s + patience_s:
                raise failure
            await asyncio.sleep(RETRY_S)


def _lease(order: LeaseOrder) -> dict[str, Any]:
    return {
        "lease_seq": order.lease_seq,
        "job_id": order.job_id,
        "attempt": order.attempt,
        "rank": order.rank,
    }


def _unready(refusal: Refusal | None) -> Unready:
    if refusal is None:
        return Unready("no_depot", "the depot answers nothing", NODE)
    blame = NODE if refusal.code in NODES_FAULT else JOB
    return Unready(refusal.code, refusal.message, blame)
