"""Who may ask the depot for what?

Clients of a tenant for the tenant's files and secrets; a node, for a lease that it holds, for what
the lease's job names and nothing else: the scheduler is asked, and an attempt that counts no more
stores nothing. One task per question, bounded. It does not know how anything is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from penstock_bus.port import Bus, Message, Outage
from penstock_contracts import depot as said
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT, is_token
from penstock_contracts.queries import Answer, Empty
from penstock_contracts.work import OBJECT
from penstock_gateway.depot_files import FileKeeper
from penstock_gateway.depot_secrets import SecretKeeper
from penstock_gateway.refused import Refused

QUEUE = "depot"
"""Several gateways share the questions."""
PENDING_MAX = 256
GRANT_S = 20.0
"""How long a lease that was seen is believed, for parts of files."""
GRANTS_MAX = 10_000
SCHEDULER_S = 3.0
SWEEP_S = 3_600.0

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

Ask = Callable[[str, Any], Awaitable[object]]


class Depot:
    """Answers until closed."""

    def __init__(self, bus: Bus, files: FileKeeper, secrets: SecretKeeper) -> None:
        self._bus, self._files, self._secrets = bus, files, secrets
        self._grants: dict[tuple[str, said.LeaseName], tuple[said.LeaseGrant, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Be asked from now on. Raises Outage."""
        for verb, (kind, ask) in self._of_tenants().items():
            await self._answer(f"{ROOT}.depot.tenant.*.{verb}", kind, ask)
        for verb, (kind, ask) in self._of_nodes().items():
            await self._answer(f"{ROOT}.depot.node.*.{verb}", kind, ask)
        await self._answer(f"{ROOT}.depot.key", Empty, self._key)
        self._sweeping = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        tasks = [*self._tasks, *([self._sweeping] if self._sweeping is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- questions -----------------------------------------------------------------------------
    def _of_tenants(self) -> dict[str, tuple[type, Ask]]:
        files, secrets = self._files, self._secrets
        return {
            "list": (said.FilesQuery, lambda tenant, ask: files.names(tenant, ask.after)),
            "find": (said.FileQuery, lambda tenant, ask: files.find(tenant, ask.name)),
            "read": (said.ChunkQuery, files.read),
            "write": (said.Chunk, files.write),
            "keep": (said.File, files.keep),
            "remove": (said.FileQuery, lambda tenant, ask: files.remove(tenant, ask.name)),
            "secrets": (Empty, lambda tenant, ask: secrets.names(tenant)),
            "put_secret": (said.PutSecret, secrets.put),
            "remove_secret": (
                said.SecretQuery,
                lambda tenant, ask: secrets.remove(tenant, ask.name),
            ),
        }

    def _of_nodes(self) -> dict[str, tuple[type, Ask]]:
        return {
            "find": (said.NodeFileQuery, self._node_finds),
            "read": (said.NodeChunkQuery, self._node_reads),
            "write": (said.NodeChunk, self._node_writes),
            "keep": (said.NodeFile, self._node_keeps),
            "secrets": (said.NodeSecretsQuery, self._node_gets_secrets),
        }

    async def _key(self, _: str, ask: Empty) -> said.SealingKey:
        return said.SealingKey(self._secrets.public_key)

    async def _node_finds(self, node: str, ask: said.NodeFileQuery) -> said.File:
        grant = await self._granted(node, ask)
        return await self._files.find(grant.tenant, _input(grant, ask.name))

    async def _node_reads(self, node: str, ask: said.NodeChunkQuery) -> said.ChunkData:
        grant = await self._granted(node, ask)
        _input(grant, ask.part.name)
        return await self._files.read(grant.tenant, ask.part)

    async def _node_writes(self, node: str, ask: said.NodeChunk) -> None:
        grant = await self._granted(node, ask)
        _output(grant, ask.part.name)
        await self._files.write(grant.tenant, ask.part)

    async def _node_keeps(self, node: str, ask: said.NodeFile) -> said.File:
        grant = await self._granted(node, ask, fresh=True)
        _output(grant, ask.file.name)
        return await self._files.keep(grant.tenant, ask.file)

    async def _node_gets_secrets(self, node: str, ask: said.NodeSecretsQuery) -> said.NodeSecrets:
        grant = await self._granted(node, ask, fresh=True)
        names = list(dict.fromkeys(secret.name for secret in grant.secrets))
        log.info(
            "secrets go to a node", extra={"node": node, "job": ask.job_id, "count": len(names)}
        )
        return await self._secrets.hand_out(grant.tenant, names, ask.key)

    async def _granted(
        self, node: str, ask: said.LeaseName, *, fresh: bool = False
    ) -> said.LeaseGrant:
        """What the lease's job names. Raises Refused, Outage."""
        lease = said.LeaseName(
            lease_seq=ask.lease_seq, job_id=ask.job_id, attempt=ask.attempt, rank=ask.rank
        )
        now_s = asyncio.get_running_loop().time()
        known = self._grants.get((node, lease))
        if known is not None and known[1] > now_s and not fresh:
            return known[0]
        question = said.LeaseQuery(
            node=node,
            lease_seq=ask.lease_seq,
            job_id=ask.job_id,
            attempt=ask.attempt,
            rank=ask.rank,
        )
        message = await self._bus.request(
            f"{ROOT}.query.scheduler.lease", _encode(question), timeout_s=SCHEDULER_S
        )
        answer = msgspec.json.decode(message.payload, type=Answer[said.LeaseGrant])
        if answer.value is None:
            refusal = answer.refusal or Refusal("unavailable", "the scheduler answers nothing")
            raise Refused(refusal.code, refusal.message)
        if len(self._grants) >= GRANTS_MAX:
            self._grants.clear()
        self._grants[node, lease] = (answer.value, now_s + GRANT_S)
        return answer.value

    # -- answers -------------------------------------------------------------------------------
    async def _answer(self, subject: str, kind: type, ask: Ask) -> None:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)

        def receive(message: Message) -> None:
            if len(self._tasks) >= PENDING_MAX:
                self._reply(message, Refusal("unavailable", "the depot is busy; try again"))
                return
            task = asyncio.ensure_future(self._answer_one(message, decoder, ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        await self._bus.subscribe(subject, receive, queue=QUEUE)

    async def _answer_one(self, message: Message, decoder: Any, ask: Ask) -> None:
        try:
            who = message.subject.split(".")[-2]
            if not is_token(who):
                raise Refused("invalid_tenant", "the subject names no tenant")
            value: object = await ask(who, decoder.decode(message.payload or b"{}"))
        except Refused as error:
            value = error.refusal
        except msgspec.ValidationError as error:
            value = Refusal("invalid_field", str(error))
        except MALFORMED as error:
            value = Refusal("malformed_json", str(error))
        except Outage as error:
            value = Refusal("unavailable", f"{error}")
        except Exception:  # one question that cannot be answered must not end the others
            log.exception("a question of the depot failed", extra={"subject": message.subject})
            value = Refusal("unavailable", "the depot failed on this; its log says how")
        self._reply(message, Empty() if value is None else value)

    def _reply(self, message: Message, value: object) -> None:
        if isinstance(value, Refusal):
            answer: Answer[Any] = Answer(refusal=value)
        else:
            answer = Answer(value=value)
        self._bus.respond_nowait(message, _encode(answer))

    async def _sweep(self) -> None:
        while True:
            try:
                if dropped := await self._files.sweep():
                    log.info("unfinished uploads are gone", extra={"count": dropped})
            except Outage as error:
                log.warning("uploads are looked through later: %s", error)
            await asyncio.sleep(SWEEP_S)


def _input(grant: said.LeaseGrant, name: str) -> str:
    if not any(one.source == OBJECT + name for one in grant.inputs):
        raise Refused("not_named", f"the job names no input {name!r}")
    return name


def _output(grant: said.LeaseGrant, name: str) -> str:
    if not any(one.target == OBJECT + name for one in grant.outputs):
        raise Refused("not_named", f"the job names no output {name!r}")
    return name
