"""Do the accounts let through what the mesh needs, on the real broker?"""

from __future__ import annotations

import json
from typing import Any

import nats.errors
import pytest

from mesh.conftest import User, Users
from penstock_contracts.ids import ROOT
from penstock_contracts.roles import ORDERS_PREFIX, ROLES

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
async def client(users: Users) -> User:
    return await users.connect("client", "local")


@pytest.fixture
async def node(users: Users) -> User:
    return await users.connect("node", "n1")


async def test_every_role_can_connect(users: Users) -> None:
    for role in ROLES:
        user = await users.connect(role, "n1")
        await user.settle()
        assert user.errors == []


async def test_a_request_of_a_client_is_stored_and_acknowledged(client: User) -> None:
    first = await client.js.publish(f"{ROOT}.request.job.acme.submit", b"{}")
    second = await client.js.publish(f"{ROOT}.request.job.acme.cancel", b"{}")
    assert (first.stream, second.seq) == ("REQUESTS", first.seq + 1)


async def test_everything_a_node_owes_is_stored_and_acknowledged(node: User) -> None:
    streams = {
        f"{ROOT}.node.n1.report": "REPORTS",
        f"{ROOT}.node.n1.sample": "SAMPLES",
        f"{ROOT}.usage.n1": "USAGE",
        f"{ROOT}.log.acme.{JOB}.1.0.stdout": "LOGS",
    }
    for subject, stream in streams.items():
        assert (await node.js.publish(subject, b"{}")).stream == stream


async def test_facts_and_logs_reach_a_live_client(
    users: Users, client: User, node: User, eventually: Any
) -> None:
    scheduler = await users.connect("scheduler", "scheduler")
    await client.listen(f"{ROOT}.job.*.*.*", f"{ROOT}.refusal.*.*", f"{ROOT}.log.*.*.*.*.*")
    await scheduler.connection.publish(f"{ROOT}.job.acme.{JOB}.queued", b"fact")
    await scheduler.connection.publish(f"{ROOT}.refusal.acme.7", b"refusal")
    await node.js.publish(f"{ROOT}.log.acme.{JOB}.1.0.stdout", b"out")
    await eventually(lambda: len(client.heard) == 3)
    assert sorted(message.data for message in client.heard) == [b"fact", b"out", b"refusal"]


async def test_a_client_reads_the_past_by_direct_get(
    users: Users, client: User, node: User
) -> None:
    scheduler = await users.connect("scheduler", "scheduler")
    stored = await scheduler.js.publish(f"{ROOT}.job.past.{JOB}.queued", b"fact")
    logged = await node.js.publish(f"{ROOT}.log.past.{JOB}.1.0.stdout", b"out")
    by_seq = await client.js.get_msg("FACTS", seq=stored.seq, direct=True)
    by_subject = await client.js.get_msg(
        "FACTS", subject=f"{ROOT}.job.past.{JOB}.queued", direct=True
    )
    log = await client.js.get_msg("LOGS", seq=logged.seq, direct=True)
    assert (by_seq.data, by_subject.data, log.data) == (b"fact", b"fact", b"out")


async def test_a_client_hears_readings_and_reads_the_last_ones(
    client: User, node: User, eventually: Any
) -> None:
    subject = f"{ROOT}.node.n1.sample"
    await client.listen(f"{ROOT}.node.*.sample")
    await node.js.publish(subject, b"before")
    await node.js.publish(subject, b"readings")
    await eventually(lambda: [message.data for message in client.heard] == [b"before", b"readings"])
    last = await client.js.get_last_msg("SAMPLES", subject, direct=True)
    assert last.data == b"readings"


async def test_one_direct_get_may_bring_many_messages(users: Users, client: User) -> None:
    scheduler = await users.connect("scheduler", "scheduler")
    for index in range(5):
        await scheduler.js.publish(f"{ROOT}.job.many.{JOB}.fact{index}", b"%d" % index)
    inbox = client.connection.new_inbox()
    answers = await client.connection.subscribe(inbox)
    ask = {"batch": 10, "seq": 1, "next_by_subj": f"{ROOT}.job.many.>"}
    await client.connection.publish(
        "$JS.API.DIRECT.GET.FACTS", json.dumps(ask).encode(), reply=inbox
    )
    payloads = []
    while (answer := await answers.next_msg(5)).headers.get("Nats-Sequence"):
        payloads.append(answer.data)
    assert payloads == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_client_may_ask_about_its_account(client: User) -> None:
    assert (await client.js.account_info()).streams > 0


async def test_a_client_asks_and_commands_services(users: Users, client: User) -> None:
    inventory = await users.connect("inventory", "inventory")

    async def answer(message: Any) -> None:
        await message.respond(b"answer to " + message.subject.encode())

    for subject in (f"{ROOT}.query.inventory.nodes", f"{ROOT}.command.node.*.*"):
        await inventory.connection.subscribe(subject, cb=answer)
    await inventory.settle()
    for subject in (f"{ROOT}.query.inventory.nodes", f"{ROOT}.command.node.n1.drain"):
        answered = await client.connection.request(subject, b"", timeout=5)
        assert answered.data == b"answer to " + subject.encode()


async def test_asking_a_service_that_is_down_fails_at_once(client: User) -> None:
    with pytest.raises(nats.errors.NoRespondersError):
        await client.connection.request(f"{ROOT}.query.metering.usage", b"", timeout=5)


async def test_the_scheduler_and_metering_ask_an_agent(users: Users, node: User) -> None:
    async def answer(message: Any) -> None:
        await message.respond(b"done")

    for verb in ("desired", "audit"):
        await node.connection.subscribe(command_subject("n1", verb), cb=answer)
    await node.settle()
    for role, verb in (("scheduler", "desired"), ("metering", "audit")):
        service = await users.connect(role, role)
        answered = await service.connection.request(f"{ROOT}.node.n1.{verb}", b"", timeout=5)
        assert answered.data == b"done"


async def test_a_heartbeat_is_heard_and_answered_by_a_renewal(
    users: Users, node: User, eventually: Any
) -> None:
    scheduler = await users.connect("scheduler", "scheduler")
    inventory = await users.connect("inventory", "inventory")

    async def renew(message: Any) -> None:
        await scheduler.connection.publish(f"{ROOT}.node.n1.renewal", b"renewed")

    await scheduler.connection.subscribe(f"{ROOT}.node.*.heartbeat", cb=renew)
    await scheduler.settle()
    await inventory.listen(f"{ROOT}.node.*.heartbeat")
    await node.listen(command_subject("n1", "renewal"))
    await node.connection.publish(f"{ROOT}.node.n1.heartbeat", b"beat")
    await eventually(lambda: node.heard and inventory.heard)
    assert (node.heard[0].data, inventory.heard[0].data) == (b"renewed", b"beat")


def command_subject(node: str, verb: str) -> str:
    """Where a node takes orders, as the broker sees it."""
    return f"{ORDERS_PREFIX}{ROOT}.node.{node}.{verb}"
