"""Does the broker refuse what a client or a node must not say, whichever way they try?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.conftest import User, Users
from penstock_contracts.ids import ROOT
from penstock_contracts.roles import ORDERS_PREFIX
from penstock_contracts.streams import STREAMS

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ORDERS = ("desired", "audit", "renewal")

MESH_ONLY = (
    f"{ROOT}.journal.jobs",
    f"{ROOT}.journal.nodes",
    f"{ROOT}.job.acme.{JOB}.succeeded",
    f"{ROOT}.refusal.acme.1",
    f"{ROOT}.budget.acme.spent",
)
FOR_NODE_2 = (
    f"{ROOT}.node.n2.report",
    f"{ROOT}.node.n2.heartbeat",
    f"{ROOT}.node.n2.sample",
    f"{ROOT}.usage.n2",
    *(f"{ROOT}.node.n2.{verb}" for verb in ORDERS),
    *(f"{ORDERS_PREFIX}{ROOT}.node.n2.{verb}" for verb in ORDERS),
    *(f"{ROOT}.depot.node.n2.{verb}" for verb in ("find", "read", "write", "keep", "secrets")),
)
KEPT = (
    "$JS.API.DIRECT.GET.KV_SECRETS",
    "$JS.API.STREAM.MSG.GET.KV_SECRETS",
    "$JS.API.CONSUMER.CREATE.KV_SECRETS",
    "$JS.API.DIRECT.GET.OBJ_FILES",
    "$JS.API.STREAM.PURGE.OBJ_FILES",
    "$KV.SECRETS.acme.00",
    "$O.FILES.M.acme.x",
)
BROKER = (
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.STREAM.UPDATE.JOBS",
    "$JS.API.STREAM.DELETE.JOBS",
    "$JS.API.STREAM.PURGE.JOBS",
    "$JS.API.STREAM.INFO.JOBS",
    "$JS.API.STREAM.MSG.GET.JOBS",
    "$JS.API.STREAM.MSG.DELETE.FACTS",
    "$JS.API.DIRECT.GET.JOBS",
    "$JS.API.DIRECT.GET.KV_LOCKS",
    "$JS.API.CONSUMER.CREATE.FACTS",
    f"$JS.API.CONSUMER.CREATE.FACTS.mine.{ROOT}.job.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.LOGS.mine",
    *KEPT,
    "$KV.LOCKS.scheduler",
    "$KV.CURSORS.JOBS.facts",
    "$O.SNAPSHOTS.M.x",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.CLAIMS.UPDATE",
)
NOT_FOR_A_CLIENT = (
    *MESH_ONLY,
    *FOR_NODE_2,
    *BROKER,
    f"{ROOT}.log.acme.{JOB}.1.0.stdout",
    f"{ROOT}.query.scheduler.lease",
    "_R_.x",
)
NOT_FOR_A_NODE = (
    *MESH_ONLY,
    *FOR_NODE_2,
    *BROKER,
    *(f"{ROOT}.node.n1.{verb}" for verb in ORDERS),
    f"{ROOT}.request.job.acme.submit",
    f"{ROOT}.command.node.n2.fence",
    f"{ROOT}.query.scheduler.jobs",
    f"{ROOT}.query.scheduler.lease",
    *(f"{ROOT}.depot.tenant.acme.{verb}" for verb in ("find", "read", "list", "put_secret")),
    "$JS.API.INFO",
    "$JS.API.DIRECT.GET.LOGS",
    "_INBOX_n2.x",
)
NOT_TO_BE_HEARD = (
    ">",
    "$SYS.>",
    "$JS.>",
    f"{ROOT}.>",
    f"{ROOT}.journal.>",
    f"{ROOT}.usage.>",
    f"{ROOT}.depot.>",
    "$KV.SECRETS.>",
    "$O.FILES.>",
    f"{ROOT}.node.n2.desired",
    f"{ORDERS_PREFIX}{ROOT}.node.*.desired",
    "_INBOX_n2.>",
)


class Watch:
    """Sees everything that appears in MESH and counts what the streams hold."""

    def __init__(self, admin: User) -> None:
        self._admin = admin
        self._before: dict[str, int] = {}

    async def begin(self) -> None:
        self._before = await self._last_seqs()

    async def grown(self) -> dict[str, int]:
        """Streams that have got messages since `begin`."""
        after = await self._last_seqs()
        return {name: after[name] - seq for name, seq in self._before.items() if after[name] > seq}

    async def _last_seqs(self) -> dict[str, int]:
        infos = {stream.name: await self._admin.js.stream_info(stream.name) for stream in STREAMS}
        return {name: info.state.last_seq for name, info in infos.items()}


@pytest.fixture
async def watch(users: Users) -> Watch:
    made = Watch(await users.connect("admin", "watch"))
    await made.begin()
    return made


async def test_a_client_cannot_publish_what_others_say(users: Users, watch: Watch) -> None:
    client = await users.connect("client", "local")
    assert await accepted(client, NOT_FOR_A_CLIENT) == []
    assert await watch.grown() == {}


@pytest.mark.lesson(11)
async def test_a_node_cannot_publish_what_others_say(users: Users, watch: Watch) -> None:
    node = await users.connect("node", "n1")
    assert await accepted(node, NOT_FOR_A_NODE) == []
    assert await watch.grown() == {}


@pytest.mark.parametrize("role", ["scheduler", "inventory", "metering"])
async def test_files_and_secrets_are_the_depots_alone(
    users: Users, watch: Watch, role: str
) -> None:
    service = await users.connect(role, role)
    assert await accepted(service, KEPT) == []
    assert await watch.grown() == {}


@pytest.mark.parametrize("role", ["client", "node"])
async def test_nobody_outside_hears_what_is_not_for_them(users: Users, role: str) -> None:
    user = await users.connect(role, "n1")
    for subject in NOT_TO_BE_HEARD:
        await user.connection.subscribe(subject)
    await user.settle()
    assert not_refused(user, NOT_TO_BE_HEARD) == []


async def test_nothing_a_client_can_ask_is_answered_onto_a_forged_subject(
    users: Users, watch: Watch, eventually: Any
) -> None:
    client = await users.connect("client", "local")
    node_2 = await users.connect("node", "n2")
    await node_2.listen(*(f"{ORDERS_PREFIX}{ROOT}.node.n2.{verb}" for verb in ORDERS))
    service = await an_answering_service(users)
    stored = await store_something_to_read(users)
    await watch.begin()
    forged = (*MESH_ONLY, *FOR_NODE_2, f"{ROOT}.request.job.victim.submit", "$KV.LOCKS.scheduler")
    for reply in forged:
        asked = json.dumps({"seq": stored}).encode()
        await client.connection.publish("$JS.API.DIRECT.GET.FACTS", asked, reply=reply)
        await client.connection.publish("$JS.API.INFO", b"", reply=reply)
        await client.connection.publish(f"{ROOT}.request.job.acme.submit", b"{}", reply=reply)
        await client.connection.publish(f"{ROOT}.query.scheduler.jobs", b"", reply=reply)
    await client.settle()
    kept = [reply for reply in forged if not reply.startswith(ORDERS_PREFIX)]
    await eventually(lambda: len(service.heard) == len(kept))
    await settled_answers(service, client)
    assert await watch.grown() == {"REQUESTS": len(kept)}
    assert node_2.heard == []


async def test_nothing_a_node_can_ask_is_answered_onto_a_forged_subject(
    users: Users, watch: Watch, eventually: Any
) -> None:
    node_1 = await users.connect("node", "n1")
    node_2 = await users.connect("node", "n2")
    await node_2.listen(
        "_INBOX_n2.>", *(f"{ORDERS_PREFIX}{ROOT}.node.n2.{verb}" for verb in ORDERS)
    )
    service = await an_answering_service(users)
    await watch.begin()
    forged = (*MESH_ONLY, *FOR_NODE_2, f"{ROOT}.log.victim.{JOB}.1.0.stdout")
    for reply in forged:
        await node_1.connection.publish(f"{ROOT}.node.n1.report", b"{}", reply=reply)
        await node_1.connection.publish(f"{ROOT}.node.n1.heartbeat", b"{}", reply=reply)
    await node_1.settle()
    kept = [reply for reply in forged if not reply.startswith(ORDERS_PREFIX)]
    await eventually(lambda: len(service.heard) == len(kept))
    await settled_answers(service, node_1)
    assert await watch.grown() == {"REPORTS": len(kept)}
    assert node_2.heard == []


async def test_an_agent_answers_a_request_once_and_no_more(users: Users) -> None:
    node = await users.connect("node", "n1")
    scheduler = await users.connect("scheduler", "scheduler")

    async def answer_twice(message: Any) -> None:
        await message.respond(b"first")
        await message.respond(b"second")

    await node.connection.subscribe(f"{ORDERS_PREFIX}{ROOT}.node.n1.desired", cb=answer_twice)
    await node.settle()
    answer = await scheduler.connection.request(f"{ROOT}.node.n1.desired", b"", timeout=5)
    await node.settle()
    assert answer.data == b"first"
    assert len(node.errors) == 1


async def test_a_service_writes_no_journal_but_its_own(users: Users, watch: Watch) -> None:
    for role, foreign in (
        ("inventory", f"{ROOT}.journal.jobs"),
        ("scheduler", f"{ROOT}.journal.nodes"),
        ("metering", f"{ROOT}.journal.jobs"),
        ("gateway", f"{ROOT}.job.acme.{JOB}.succeeded"),
    ):
        assert await accepted(await users.connect(role, role), (foreign,)) == []
    assert await watch.grown() == {}


async def an_answering_service(users: Users) -> User:
    """Answers heartbeats and queries, also where it should not: the broker alone has to hold."""
    scheduler = await users.connect("scheduler", "scheduler")

    async def answer(message: Any) -> None:
        await message.respond(b"answer")
        scheduler.heard.append(message)

    for subject in (f"{ROOT}.node.*.heartbeat", f"{ROOT}.query.scheduler.jobs"):
        await scheduler.connection.subscribe(subject, cb=answer)
    await scheduler.settle()
    return scheduler


async def store_something_to_read(users: Users) -> int:
    scheduler = await users.connect("scheduler", "scheduler")
    return int((await scheduler.js.publish(f"{ROOT}.job.acme.{JOB}.queued", b"{}")).seq)


async def settled_answers(service: User, asker: User) -> None:
    """Returns when the broker has routed every answer given so far."""
    await service.settle()
    await asker.settle()


async def accepted(user: User, subjects: tuple[str, ...]) -> list[str]:
    """Publishes to each; those that the broker did not refuse."""
    for subject in subjects:
        await user.connection.publish(subject, b"forged")
    await user.settle()
    return not_refused(user, subjects)


def not_refused(user: User, subjects: tuple[str, ...]) -> list[str]:
    said = "\n".join(user.errors)
    return [subject for subject in subjects if f'"{subject.lower()}"' not in said]
