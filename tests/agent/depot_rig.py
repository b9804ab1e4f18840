"""What stands around a depot in tests?

The depot and a broker in memory, a scheduler that says who holds what, and an agent's side of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.public import PrivateKey, PublicKey, SealedBox

from agent.builders import an_order
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus, Message
from penstock_contracts.depot import (
    CHUNK_BYTES,
    Chunk,
    File,
    LeaseGrant,
    LeaseQuery,
    PutSecret,
    SecretText,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.queries import Answer
from penstock_contracts.streams import FILES, SECRETS
from penstock_gateway.depot import Depot
from penstock_gateway.depot_files import FileKeeper
from penstock_gateway.depot_secrets import SecretKeeper
from penstock_node_agent.workplace.depot_link import DepotLink
from penstock_node_agent.workplace.files import Files
from penstock_node_agent.workplace.unready import Unready
from penstock_node_agent.workplace.work_files import WorkFiles

TENANT = "acme"
UPLOAD = "0" * 32


class Rig:
    """What stands around one depot. `held`: orders by node; `dir`: a work directory."""

    def __init__(self, bus: Bus, files: FileKeeper, secrets: SecretKeeper, tmp_path: Path) -> None:
        self.bus, self.files, self.secrets = bus, files, secrets
        self.held: dict[str, list[LeaseOrder]] = {"n1": [], "n2": []}
        self.disk = WorkFiles()
        self.work, self.mounted = tmp_path / "work", tmp_path / "mounted"
        self.work.mkdir()
        self.mounted.mkdir()

    def link(self, name: str) -> DepotLink:
        """How the agent of that node asks; it asks once."""
        return DepotLink(self.bus, name, patience_s=0.0, store_patience_s=0.0)

    def node(self, name: str = "n1", **changes: Any) -> Files:
        return Files(self.link(name), self.disk, changes.pop("prefixes", (str(self.mounted),)))

    def order(self, node: str = "n1", **changes: Any) -> LeaseOrder:
        order = an_order(tenant=TENANT, **changes)
        self.held[node].append(order)
        return order

    async def put(self, name: str, data: bytes, tenant: str = TENANT) -> File:
        cuts = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        for index, cut in enumerate(cuts):
            await self.files.write(tenant, Chunk(name, UPLOAD, index, cut))
        record = File(
            name=name, bytes=len(data), chunks=len(cuts), sha256=sum_of(data), upload=UPLOAD
        )
        return await self.files.keep(tenant, record)

    def answer(self, message: Message) -> None:
        """As the scheduler would."""
        asked = msgspec.json.decode(message.payload, type=LeaseQuery)
        answer: Answer[LeaseGrant] = Answer(refusal=Refusal("not_held", "it does not"))
        for order in self.held[asked.node]:
            if (order.lease_seq, order.job_id) == (asked.lease_seq, asked.job_id):
                grant = LeaseGrant(
                    tenant=order.tenant,
                    inputs=order.inputs,
                    outputs=order.outputs,
                    secrets=order.secrets,
                )
                answer = Answer(value=grant)
        self.bus.respond_nowait(message, msgspec.json.encode(answer))


def sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed(rig: Rig, text: str, name: str, tenant: str = TENANT) -> PutSecret:
    whole = msgspec.json.encode(SecretText(tenant, name, text))
    return PutSecret(name, SealedBox(PublicKey(rig.secrets.public_key)).encrypt(whole))


async def failure(work: Awaitable[Any]) -> tuple[str, str]:
    """The code of what it fails with, and who is to blame."""
    with pytest.raises(Unready) as caught:
        await work
    return caught.value.code, caught.value.blame


@asynccontextmanager
async def a_depot(tmp_path: Path, bus: Bus | None = None) -> AsyncIterator[Rig]:
    """On that bus, or one of its own."""
    own = await memory.connect(MemoryBroker(time.time_ns), name="all")
    bus = bus or own
    await bus.ensure_buckets([SECRETS])
    await bus.ensure_buckets([FILES], objects=True)
    files = FileKeeper(bus, time.time_ns)
    secrets = SecretKeeper(bus, PrivateKey.generate(), time.time_ns)
    depot = Depot(bus, files, secrets)
    rig = Rig(bus, files, secrets, tmp_path)
    await bus.subscribe(f"{ROOT}.query.scheduler.lease", rig.answer)
    await depot.open()
    yield rig
    await depot.close()
    await own.close()
