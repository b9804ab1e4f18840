"""What can be done with a key that is not one's own, and with one that is nobody's any more?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest

from joining.conftest import Broker, Mesh, files_in, now_s
from penstock_bus.authority import AuthorityUnusable, NatsAuthority
from penstock_bus.jwt import render_creds, sign_account
from penstock_bus.nkey import KeyPair, KeyType
from penstock_contracts.ids import ROOT
from penstock_contracts.roles import ORDERS_PREFIX, STREAM_NAMES
from penstock_node_agent.joining.admission import NotAdmitted, join, renew
from penstock_node_agent.joining.membership import MembershipFiles

OUT_S_MAX = 5


class Stolen:
    """A plain connection with somebody's credential."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.errors: list[str] = []
        self.heard: list[Any] = []
        self.closed = asyncio.Event()

    async def settle(self) -> None:
        for _ in range(2):
            await self.connection.flush()

    async def hear(self, *subjects: str) -> None:
        async def on_message(message: Any) -> None:
            self.heard.append(message)

        for subject in subjects:
            await self.connection.subscribe(subject, cb=on_message)
        await self.settle()


Steal = Callable[[Path, str], Any]


@pytest.fixture
async def steal(broker: Broker) -> AsyncIterator[Steal]:
    made: list[Stolen] = []

    async def connect(creds: Path, inbox: str) -> Stolen:
        stolen = Stolen(None)

        async def on_error(error: Exception) -> None:
            stolen.errors.append(str(error))

        async def on_closed() -> None:
            stolen.closed.set()

        stolen.connection = await nats.connect(
            broker.url, user_credentials=str(creds), inbox_prefix=inbox.encode(),
            tls=broker.trusting, allow_reconnect=False, error_cb=on_error, closed_cb=on_closed,
        )  # fmt: skip
        made.append(stolen)
        return stolen

    yield connect
    for stolen in made:
        await stolen.connection.close()


async def stored(broker: Broker) -> dict[str, int]:
    """The last sequence of every stream that joining must not write."""
    admin = await broker.connect("admin", "watch")
    states = {name: await admin.stream_state(name) for name in STREAM_NAMES if name != "NODES"}
    await admin.close()
    return {name: state.last_seq for name, state in states.items()}


async def remove(mesh: Mesh, node: str) -> None:
    from penstock_contracts.nodes import NodeCommand

    await mesh.operator.command_node(node, "remove", NodeCommand())


@pytest.mark.lesson(11)
async def test_a_stolen_key_reads_and_writes_nothing_of_another_node(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal
) -> None:
    mine = await joined_mesh.join(tmp_path / "a", "robbed")
    other = await joined_mesh.join(tmp_path / "b", "neighbour")
    thief = await steal(mine.creds, "_INBOX_robbed")
    victim = await steal(other.creds, "_INBOX_neighbour")
    commands = [f"{ORDERS_PREFIX}{ROOT}.node.neighbour.{w}" for w in ("desired", "renewal")]
    await victim.hear(*commands, "_INBOX_neighbour.>")
    to_say = [f"{ROOT}.node.neighbour.{w}" for w in ("report", "description", "heartbeat")]
    to_say += [f"{ROOT}.usage.neighbour", "_INBOX_neighbour.x", *commands]
    before = await stored(joined_mesh.broker)
    for subject in to_say:
        await thief.connection.publish(subject, b"{}")
    await thief.hear(*commands, "_INBOX_neighbour.>", f"{ROOT}.>", ">")
    said = "\n".join(thief.errors)
    refused = [*to_say, *commands, "_INBOX_neighbour.>", f"{ROOT}.>", ">"]
    assert [subject for subject in refused if f'"{subject.lower()}"' not in said] == []
    scheduler = await joined_mesh.broker.connect("scheduler", "scheduler")
    await scheduler.publish(f"{ROOT}.node.neighbour.renewal", b"for the neighbour")
    await victim.settle()
    await thief.settle()
    assert thief.heard == []
    assert await stored(joined_mesh.broker) == before
    await scheduler.close()


async def test_who_asks_to_join_can_have_no_answer_delivered_to_another(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal, eventually: Any
) -> None:
    other = await joined_mesh.join(tmp_path / "b", "hears")
    node = await steal(other.creds, "_INBOX_hears")
    orders = [f"{ORDERS_PREFIX}{ROOT}.node.hears.{w}" for w in ("desired", "audit", "renewal")]
    await node.hear("_INBOX_hears.>", *orders)
    victim_key = other.key().public
    waiting = await steal(other.return_creds, f"_INBOX_{victim_key}")
    await waiting.hear(f"_INBOX_{victim_key}.>")
    mine = await joined_mesh.join(tmp_path / "a", "asks")
    key = mine.key().public
    asker = await steal(mine.return_creds, f"_INBOX_{key}")
    before = await stored(joined_mesh.broker)
    told = joined_mesh.inventory.service.count().get("queries", 0)
    forged = (
        "_INBOX_hears.x",
        f"{ROOT}.node.hears.desired",
        f"{ROOT}.node.hears.report",
        f"{ROOT}.journal.nodes",
        f"{ROOT}.request.job.acme.submit",
        "$KV.LOCKS.inventory",
    )
    for reply in (*forged, orders[0]):
        await asker.connection.publish(f"{ROOT}.provision.{key}.renew", b"{}", reply=reply)
    await asker.settle()
    inventory = joined_mesh.inventory.service
    await eventually(lambda: inventory.count().get("queries", 0) >= told + len(forged))
    await asker.settle()
    await node.settle()
    await waiting.settle()
    assert (node.heard, waiting.heard) == ([], [])
    assert await stored(joined_mesh.broker) == before


async def test_who_may_ask_to_join_may_do_nothing_else(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal
) -> None:
    mine = await joined_mesh.join(tmp_path / "a", "only")
    key, other = mine.key().public, "U" + "A" * 55
    asker = await steal(mine.return_creds, f"_INBOX_{key}")
    say = (
        f"{ROOT}.provision.{other}.join",
        f"{ROOT}.provision.{other}.renew",
        f"{ROOT}.node.only.report",
        f"{ROOT}.node.only.heartbeat",
        f"{ROOT}.command.invite.create",
        f"{ROOT}.command.invite.approve",
        f"{ROOT}.command.node.only.uncordon",
        f"{ROOT}.query.inventory.nodes",
        f"{ROOT}.request.job.acme.submit",
        "$JS.API.INFO",
        "$SYS.REQ.CLAIMS.UPDATE",
    )
    for subject in say:
        await asker.connection.publish(subject, b"{}")
    hear = (f"_INBOX_{other}.>", "_INBOX.>", f"{ROOT}.>", f"{ROOT}.provision.*.join", ">")
    await asker.hear(*hear)
    said = "\n".join(asker.errors)
    assert [s for s in (*say, *hear) if f'"{s.lower()}"' not in said] == []


async def test_a_node_that_is_put_out_is_out_at_once_and_cannot_come_back(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "leaver")
    stays = await joined_mesh.join(tmp_path / "b", "stayer")
    stolen = await steal(files.creds, "_INBOX_leaver")
    beside = await steal(stays.creds, "_INBOX_stayer")
    await remove(joined_mesh, "leaver")
    await asyncio.wait_for(stolen.closed.wait(), OUT_S_MAX)
    with pytest.raises(nats.errors.Error):
        await steal(files.creds, "_INBOX_leaver")
    member = files.load()
    assert member is not None
    with pytest.raises(NotAdmitted, match="key_revoked"):
        await renew(member, files)
    await beside.settle()
    assert not beside.closed.is_set()


async def test_a_broker_that_starts_anew_still_knows_who_was_put_out(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal, eventually: Any
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "outcast")
    stays = await joined_mesh.join(tmp_path / "b", "kept")
    stolen = await steal(files.creds, "_INBOX_outcast")
    await remove(joined_mesh, "outcast")
    await asyncio.wait_for(stolen.closed.wait(), OUT_S_MAX)
    joined_mesh.broker.kill()
    joined_mesh.broker.start()
    with pytest.raises(nats.errors.Error):
        await steal(files.creds, "_INBOX_outcast")
    await steal(stays.creds, "_INBOX_kept")
    await eventually(lambda: joined_mesh.operator.bus.connected)


async def test_a_broker_that_was_told_something_old_is_told_again(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal, eventually: Any
) -> None:
    """By an instance that was frozen, or by a server that was away."""
    files = await joined_mesh.join(tmp_path / "a", "thawed")
    stolen = await steal(files.creds, "_INBOX_thawed")
    await remove(joined_mesh, "thawed")
    await asyncio.wait_for(stolen.closed.wait(), OUT_S_MAX)
    old = NatsAuthority(joined_mesh.broker.authority, joined_mesh.broker.url, now_s)
    await old.revoke({})
    stolen = await steal(files.creds, "_INBOX_thawed")
    await asyncio.wait_for(stolen.closed.wait(), OUT_S_MAX)
    await old.close()


async def test_a_node_renews_before_and_after_its_credential_ran_out(
    joined_mesh: Mesh, tmp_path: Path, steal: Steal
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "renews")
    member = files.load()
    assert member is not None
    first = files.creds.read_bytes()
    await renew(member, files)
    key = files.key()
    again = files.creds.read_bytes()
    assert again.splitlines()[-2] == first.splitlines()[-2], "the key stays"
    trust = joined_mesh.broker.trust
    ended = trust.mint("node", "renews", now_s() - 20, expires_s=now_s() - 10)
    files.creds.write_text(render_creds(ended.splitlines()[1], key), encoding="ascii")
    with pytest.raises(nats.errors.Error):
        await steal(files.creds, "_INBOX_renews")
    await renew(member, files)
    await steal(files.creds, "_INBOX_renews")


async def test_a_removed_host_joins_again_with_a_new_token_and_a_new_key(
    joined_mesh: Mesh, tmp_path: Path
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "again")
    key = files.key().public
    await remove(joined_mesh, "again")
    await join(await joined_mesh.invite(), "again", files, lambda _: None)
    assert files.key().public != key


async def test_the_keys_of_inventory_change_no_account_but_the_nodes(
    joined_mesh: Mesh, steal: Steal
) -> None:
    broker = joined_mesh.broker
    registrar = await steal(broker.authority / "registrar.creds", "_INBOX")
    keys = msgspec.json.decode((broker.authority / "keys.json").read_bytes())
    signer = KeyPair.from_seed(keys["registrar"])
    for key in broker.trust.account_jwts(now_s()):
        if key == keys["nodes_account"]:
            continue
        claims = sign_account(signer, key, name="MINE", issued_s=now_s(), body={"type": "account"})
        for subject in (f"$SYS.REQ.ACCOUNT.{key}.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE"):
            await registrar.connection.publish(subject, claims.encode())
    await registrar.settle()
    assert len(registrar.errors) == 2 * (len(broker.trust.account_jwts(now_s())) - 1)
    assert (await joined_mesh.operator.nodes()).seq > 0, "the mesh lives"


def test_keys_that_cannot_be_read_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(AuthorityUnusable, match=r"keys\.json"):
        NatsAuthority(tmp_path, "nats://x", now_s)
    (tmp_path / "keys.json").write_text(json.dumps({"registrar": "x"}), encoding="ascii")
    with pytest.raises(AuthorityUnusable, match=r"keys\.json"):
        NatsAuthority(tmp_path, "nats://x", now_s)


def test_a_key_is_on_the_disk_before_anybody_hears_of_it(tmp_path: Path) -> None:
    files: MembershipFiles = files_in(tmp_path)
    invite = KeyPair.generate(KeyType.USER).public
    key = files.key_for(invite)
    assert files_in(tmp_path).key_for(invite).public == key.public
    assert files_in(tmp_path).key_for("U" + "B" * 55).public != key.public
    assert (tmp_path / "pending.json").stat().st_mode & 0o777 == 0o600
