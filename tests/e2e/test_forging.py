"""Does the broker itself refuse what a user's or a node's credential must not say?

Direct forgeries and those by reply and deliver subjects, with the credentials a real mesh hands
out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
import pytest

from e2e.mesh import Mesh
from e2e.raw import ROOT, RawClient, a_job

STREAMS = (
    "REQUESTS",
    "FACTS",
    "JOBS",
    "NODES",
    "REPORTS",
    "DESCRIPTIONS",
    "USAGE",
    "LOGS",
    "BUDGETS",
)
QUIET = ("JOBS", "NODES", "FACTS", "BUDGETS")
"""Streams in which nothing appears while no job runs and no node changes."""
JOB_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

NEVER_FOR_A_USER = (
    f"{ROOT}.journal.jobs",
    f"{ROOT}.journal.nodes",
    f"{ROOT}.job.default.{JOB_ID}.succeeded",
    f"{ROOT}.refusal.default.1",
    f"{ROOT}.usage.%s",
    f"{ROOT}.budget.default.allowance",
    f"{ROOT}.node.%s.report",
    f"{ROOT}.node.%s.heartbeat",
    f"{ROOT}.node.%s.desired",
    f"{ROOT}.node.%s.audit",
    f"{ROOT}.log.default.{JOB_ID}.1.0.stdout",
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.STREAM.DELETE.JOBS",
    "$JS.API.STREAM.PURGE.JOBS",
    "$JS.API.STREAM.MSG.GET.JOBS",
    "$JS.API.DIRECT.GET.JOBS",
    "$JS.API.CONSUMER.CREATE.FACTS.c.>",
    "$JS.API.CONSUMER.CREATE.FACTS",
)
NEVER_FOR_A_NODE = (
    f"{ROOT}.journal.jobs",
    f"{ROOT}.journal.nodes",
    f"{ROOT}.job.default.{JOB_ID}.succeeded",
    f"{ROOT}.request.job.default.submit",
    f"{ROOT}.command.node.%s.fence",
    f"{ROOT}.usage.%s",
    f"{ROOT}.node.%s.report",
    f"{ROOT}.node.%s.heartbeat",
    f"{ROOT}.node.%s.desired",
    f"{ROOT}.node.%s.audit",
    f"{ROOT}.query.scheduler.jobs",
    "$JS.API.STREAM.PURGE.USAGE",
    "$JS.API.DIRECT.GET.FACTS",
    "$JS.API.CONSUMER.CREATE.REPORTS",
)


OWN, OTHER = "sim-h100-1", "sim-h100-2"
"""The node whose credential `node_client` holds, and one for which it must not speak."""


@pytest.fixture
async def node_client(mesh: Mesh) -> AsyncIterator[RawClient]:
    """Connected with the credential of one of the mesh's simulated nodes."""
    async with await RawClient.connect(
        mesh.nats_url, mesh.data / "nodes" / OWN / "node.creds"
    ) as connected:
        yield connected


@pytest.fixture
async def admin(mesh: Mesh) -> AsyncIterator[RawClient]:
    """Sees every stream: how a test knows that nothing landed."""
    creds = mesh.data / "creds" / "admin.creds"
    async with await RawClient.connect(mesh.nats_url, creds) as connected:
        yield connected


async def last_seqs(admin: RawClient, streams: tuple[str, ...] = STREAMS) -> dict[str, int]:
    answers = {s: await admin.request_raw(f"$JS.API.STREAM.INFO.{s}", b"") for s in streams}
    return {stream: answer["state"]["last_seq"] for stream, answer in answers.items()}


async def assert_not_stored(admin: RawClient, since: dict[str, int], marker: bytes) -> None:
    for stream, after in since.items():
        seq = after
        while (message := await admin.stored_after(stream, seq, ">")) is not None:
            seq = message[0]
            assert marker not in message[1], f"a forgery landed in {stream}"


async def refusals_of(client: RawClient, subjects: list[str], marker: bytes) -> list[str]:
    """Publishes to each subject; the subjects that the broker did not refuse."""
    client.errors.clear()
    for subject in subjects:
        await client.connection.publish(subject, marker)
    for _ in range(2):
        await client.connection.flush()
    said = "\n".join(client.errors).lower()
    return [s for s in subjects if f'"{s}"'.lower() not in said]


async def test_a_user_cannot_publish_what_only_services_and_nodes_say(
    mesh: Mesh, client: RawClient, admin: RawClient
) -> None:
    marker, before = f"forged {uuid.uuid4()}".encode(), await last_seqs(admin)
    subjects = [s % OTHER if "%s" in s else s for s in NEVER_FOR_A_USER]
    assert await refusals_of(client, subjects, marker) == []
    await assert_not_stored(admin, before, marker)


async def test_a_node_cannot_speak_for_users_services_or_other_nodes(
    mesh: Mesh, node_client: RawClient, admin: RawClient
) -> None:
    marker, before = f"forged {uuid.uuid4()}".encode(), await last_seqs(admin)
    subjects = [s % OTHER if "%s" in s else s for s in NEVER_FOR_A_NODE]
    assert await refusals_of(node_client, subjects, marker) == []
    await assert_not_stored(admin, before, marker)


FORGED_REPLIES = (
    f"{ROOT}.journal.jobs",
    f"{ROOT}.journal.nodes",
    f"{ROOT}.job.default.{JOB_ID}.succeeded",
    f"{ROOT}.usage.%s",
    f"{ROOT}.node.%s.report",
    f"{ROOT}.budget.default.allowance",
)


async def test_a_user_cannot_make_the_mesh_publish_by_forged_reply_subjects(
    mesh: Mesh, client: RawClient, admin: RawClient
) -> None:
    await client.follow("replies")
    job = a_job("true")
    await client.submit("replies", job)
    await client.until_ended(job["job_id"])
    node, marker = OTHER, uuid.uuid4().hex
    askings: list[tuple[str, Any]] = [
        ("$JS.API.DIRECT.GET.FACTS", {"seq": 1}),
        (f"$JS.API.DIRECT.GET.FACTS.{ROOT}.job.replies.{job['job_id']}.submitted", None),
        (f"{ROOT}.query.scheduler.job", {"job_id": job["job_id"]}),
        (f"{ROOT}.query.metering.usage", {}),
        (f"{ROOT}.query.inventory.nodes", {}),
        ("$JS.API.INFO", None),
        (f"{ROOT}.command.node.{node}.uncordon", {"reason": marker}),
        (f"{ROOT}.request.job.a!b.submit", {"job_id": marker, "command": ["true"]}),
    ]
    before = await last_seqs(admin, ("JOBS", "NODES", "BUDGETS"))
    all_before = await last_seqs(admin)
    for subject, ask in askings:
        payload = b"" if ask is None else json.dumps(ask).encode()
        for reply in FORGED_REPLIES:
            forged = reply % node if "%s" in reply else reply
            await client.connection.publish(subject, payload, reply=forged)
    for _ in range(2):
        await client.connection.flush()
    healthy = a_job("true")
    await client.submit("replies", healthy)
    assert (await client.until_ended(healthy["job_id"]))["fact"] == "succeeded"
    after = await last_seqs(admin)
    for stream in ("NODES", "BUDGETS"):
        assert after[stream] == before[stream], f"something landed in {stream}"
    await assert_journal_is_genuine(admin, before["JOBS"])
    await assert_facts_are_genuine(admin, all_before["FACTS"])
    assert mesh.cli_json("check")["unaccounted_ms"] == 0


async def test_a_node_cannot_make_the_mesh_publish_by_forged_reply_subjects(
    mesh: Mesh, node_client: RawClient, client: RawClient, admin: RawClient
) -> None:
    before = await last_seqs(admin, QUIET)
    for subject in ("report", "heartbeat", "sample"):
        for reply in (*FORGED_REPLIES, f"{ROOT}.node.%s.desired", f"{ROOT}.node.%s.audit"):
            forged = reply % OTHER if "%s" in reply else reply
            await node_client.connection.publish(
                f"{ROOT}.node.{OWN}.{subject}", b"{}", reply=forged
            )
    for _ in range(2):
        await node_client.connection.flush()
    await client.follow("replies")
    job = a_job("true", gpus=8, ranks=2)
    await client.submit("replies", job)
    assert (await client.until_ended(job["job_id"]))["fact"] == "succeeded"
    await assert_journal_is_genuine(admin, before["JOBS"])
    await assert_facts_are_genuine(admin, before["FACTS"])
    assert mesh.cli_json("check")["unaccounted_ms"] == 0


async def assert_journal_is_genuine(admin: RawClient, seq: int) -> None:
    while (message := await admin.stored_after("JOBS", seq, ">")) is not None:
        seq = message[0]
        entry = json.loads(message[1])
        assert {"term", "writer", "entry_id", "facts"} <= entry.keys()


async def assert_facts_are_genuine(admin: RawClient, seq: int) -> None:
    while (message := await admin.stored_after("FACTS", seq, f"{ROOT}.job.>")) is not None:
        seq = message[0]
        event = json.loads(message[1])
        assert event["job_id"] != JOB_ID
        assert {"seq", "index", "tenant", "fact"} <= event.keys()


async def test_a_user_cannot_have_stored_messages_delivered_elsewhere(
    client: RawClient, admin: RawClient
) -> None:
    before = await last_seqs(admin, ("JOBS", "NODES"))
    consumer = {
        "stream_name": "FACTS",
        "config": {"deliver_subject": f"{ROOT}.journal.jobs", "ack_policy": "none"},
    }
    with pytest.raises((nats.errors.Error, TimeoutError)):
        await client.request_raw(
            "$JS.API.CONSUMER.CREATE.FACTS", json.dumps(consumer).encode(), timeout_s=0.5
        )
    assert await last_seqs(admin, ("JOBS", "NODES")) == before


async def test_a_user_hears_neither_journals_nor_nodes(client: RawClient) -> None:
    client.errors.clear()
    subjects = [f"{ROOT}.journal.>", f"{ROOT}.node.>", f"{ROOT}.usage.>", f"{ROOT}.>", ">", "$JS.>"]
    for subject in subjects:
        await client.connection.subscribe(subject, cb=_ignore)
    for _ in range(2):
        await client.connection.flush()
    said = "\n".join(client.errors).lower()
    assert [s for s in subjects if f'"{s}"'.lower() not in said] == []


async def _ignore(message: Any) -> None:
    raise AssertionError(f"heard {message.subject}")


def test_credentials_are_readable_by_their_owner_only(mesh: Mesh) -> None:
    assert mesh.creds.exists()
    for secret in [mesh.creds, *mesh.data.rglob("*.creds")]:
        assert secret.stat().st_mode & 0o077 == 0, secret
