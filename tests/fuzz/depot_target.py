"""What do questions of any kind do to the depot?

The real depot on a bus in memory, with a scheduler that knows one lease. What is refused changes
nothing that is kept; nothing of a tenant is given to a node whose lease does not name it. It does
not know HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from nacl.public import PrivateKey, SealedBox

from fuzz.link_targets import check_answer
from fuzz.mutation import Given
from fuzz.runner import Violation
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import BusRefusal, Message, Outage
from penstock_contracts import depot as said
from penstock_contracts.depot_messages import DEPOT
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.queries import Answer
from penstock_contracts.streams import FILES, SECRETS
from penstock_contracts.work import Input, Output, Secret
from penstock_gateway.depot import Depot
from penstock_gateway.depot_files import FileKeeper
from penstock_gateway.depot_secrets import SecretKeeper

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
LEASE: dict[str, Any] = {"lease_seq": 7, "job_id": JOB, "attempt": 1, "rank": 0}
GRANT = said.LeaseGrant(
    tenant="acme",
    inputs=(Input("object:in", "in"),),
    outputs=(Output("out", "object:out"),),
    secrets=(Secret("key", env="KEY"),),
)
KEY = PrivateKey(bytes(range(32)))
UPLOAD, OTHER = "0" * 32, "1" * 32
NOW_NS = 1_700_000_000_000_000_000
PRIVATE = (b"others-file", b"others-secret")
encode = msgspec.json.encode


def a_file(name: str, text: bytes, upload: str = UPLOAD) -> said.File:
    digest = hashlib.sha256(text).hexdigest()
    return said.File(name=name, bytes=len(text), chunks=1, sha256=digest, upload=upload)


class Depots:
    """Tenant acme keeps a file and a secret; so does another, and nobody may see them."""

    name = "depot"
    messages = tuple(message.name for message in DEPOT)
    words: Sequence[str | int] = (
        *("acme", "other", "in", "out", "key", "n1", "n2", JOB, UPLOAD, OTHER),
        *(0, 1, 7, 8, said.CHUNK_BYTES),
    )
    pure = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._sealed = SealedBox(KEY).encrypt(encode(said.SecretText("acme", "new", "text")))
        self._depot: Depot | None = None

    def close(self) -> None:
        self._run(self._end())
        self._loop.close()

    def reset(self) -> None:
        self._run(self._begin())

    def valid(self) -> Sequence[Given]:
        tenant, node = f"{ROOT}.depot.tenant.acme", f"{ROOT}.depot.node.n1"
        part, data = said.ChunkQuery("in", UPLOAD, 0), said.Chunk("out", OTHER, 0, b"text")
        asks: list[tuple[str, Any]] = [
            (f"{tenant}.list", said.FilesQuery()),
            (f"{tenant}.find", said.FileQuery("in")),
            (f"{tenant}.read", part),
            (f"{tenant}.write", data),
            (f"{tenant}.keep", a_file("in", b"acmes-file")),
            (f"{tenant}.remove", said.FileQuery("in")),
            (f"{tenant}.secrets", {}),
            (f"{tenant}.put_secret", said.PutSecret("new", self._sealed)),
            (f"{tenant}.remove_secret", said.SecretQuery("key")),
            (f"{ROOT}.depot.key", {}),
            (f"{node}.find", said.NodeFileQuery(**LEASE, name="in")),
            (f"{node}.read", said.NodeChunkQuery(**LEASE, part=part)),
            (f"{node}.write", said.NodeChunk(**LEASE, part=data)),
            (f"{node}.keep", said.NodeFile(**LEASE, file=a_file("out", b"text", OTHER))),
            (f"{node}.secrets", said.NodeSecretsQuery(**LEASE, key=bytes(KEY.public_key))),
        ]
        return [Given(subject, encode(ask)) for subject, ask in asks]

    def give(self, given: Given) -> bool:
        try:
            answer = self._run(self._bus.request(given.subject, given.payload, timeout_s=5))
        except (Outage, BusRefusal, ValueError):
            return False  # a subject on which nobody answers
        *_, who, verb = given.subject.split(".")
        name = "depot_key" if who == "depot" else f"depot_{verb}"
        if given.subject.startswith(f"{ROOT}.depot.node."):
            name = f"depot_node_{verb}"
        if who != "other" and any(text in answer.payload for text in PRIVATE):
            raise Violation(f"{who} has got what is another's")
        return check_answer(name, answer.payload)

    def digest(self) -> object:
        return self._run(self._kept())

    async def _begin(self) -> None:
        await self._end()
        self._bus = await memory.connect(MemoryBroker(lambda: NOW_NS), name="all")
        await self._bus.ensure_buckets([SECRETS])
        await self._bus.ensure_buckets([FILES], objects=True)
        files = FileKeeper(self._bus, lambda: NOW_NS)
        secrets = SecretKeeper(self._bus, KEY, lambda: NOW_NS)
        for tenant, text in (("acme", b"acmes-file"), ("other", PRIVATE[0])):
            await files.write(tenant, said.Chunk("in", UPLOAD, 0, text))
            await files.keep(tenant, a_file("in", text))
        for tenant, text in (("acme", b"acmes-secret"), ("other", PRIVATE[1])):
            whole = encode(said.SecretText(tenant, "key", text.decode()))
            await secrets.put(tenant, said.PutSecret("key", SealedBox(KEY).encrypt(whole)))
        await self._bus.subscribe(f"{ROOT}.query.scheduler.lease", self._say)
        self._depot = Depot(self._bus, files, secrets)
        await self._depot.open()

    async def _end(self) -> None:
        if self._depot is not None:
            await self._depot.close()
            await self._bus.close()
            self._depot = None

    def _say(self, message: Message) -> None:
        """As the scheduler would."""
        asked = msgspec.json.decode(message.payload, type=said.LeaseQuery)
        held = msgspec.to_builtins(asked) == {**LEASE, "node": "n1"}
        no: Answer[said.LeaseGrant] = Answer(refusal=Refusal("not_held", "it does not"))
        self._bus.respond_nowait(message, encode(Answer(value=GRANT) if held else no))

    async def _kept(self) -> object:
        """All but the notes that an upload has begun."""
        found = []
        for stream in (f"OBJ_{FILES}", f"KV_{SECRETS}"):
            messages = await self._bus.read_many(stream, 1, ">", limit=1_000)
            found += [(one.subject, one.payload) for one in messages]
        return tuple(one for one in found if not one[0].startswith(f"$O.{FILES}.U."))

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)
