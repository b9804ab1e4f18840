"""Does a host of somebody else become a node with one command, and is it out at once?"""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest

from e2e import second_user
from e2e.mesh import Mesh, until
from e2e.second_user import UID, Host
from penstock_bus import join_token
from penstock_bus.pinning import trusting
from penstock_contracts.ids import ROOT
from penstock_contracts.roles import ORDERS_PREFIX

OTHER = "sim-h100-1"
"""The node that `penstock up` itself runs."""
LOCAL_REFUSAL = 2
PUT_OUT = 77
OUT_S_MAX = 5

OF_ANOTHER = (
    *(f"{ROOT}.node.{OTHER}.{what}" for what in ("report", "description", "heartbeat")),
    f"{ROOT}.usage.{OTHER}",
    f"{ORDERS_PREFIX}{ROOT}.node.{OTHER}.desired",
    f"{ROOT}.journal.nodes",
    "$SYS.REQ.CLAIMS.UPDATE",
)
TO_HEAR = (
    *(f"{ORDERS_PREFIX}{ROOT}.node.{OTHER}.{what}" for what in ("desired", "audit", "renewal")),
    f"{ORDERS_PREFIX}{ROOT}.node.*.desired",
    f"_INBOX_{OTHER}.>",
    f"{ROOT}.>",
    ">",
)


@pytest.fixture(scope="module")
def open_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One that listens for other hosts, over TLS."""
    second_user.required()
    home = tmp_path_factory.mktemp("open")
    arguments = ("--listen", "127.0.0.1", "--simulate", "1x1xH100", "--no-local-node")
    mesh = Mesh(home, *arguments).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def host(open_mesh: Mesh, tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    made.stop()


def invite(mesh: Mesh, *options: str) -> str:
    token: str = mesh.cli_json("node", "invite", *options)["token"]
    return token


def join(mesh: Mesh, host: Host, name: str, *options: str) -> None:
    """The host is a node and alive when this returns."""
    host.start("--join", "-", "--node", name, said=invite(mesh, *options) + "\n")
    until(lambda: name in mesh.nodes(), what=f"{name}: {host.said}")


class Thief:
    """A connection with stolen credentials. `errors`: what the broker refuses."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.errors: list[str] = []
        self.heard: list[Any] = []
        self.closed = asyncio.Event()
        self.closed_ns = 0

    async def connect(self, mesh: Mesh, creds: Path, inbox: str) -> Thief:
        async def on_error(error: Exception) -> None:
            self.errors.append(str(error))

        async def on_closed() -> None:
            self.closed_ns = time.monotonic_ns()
            self.closed.set()

        certificate = (mesh.data / "tls/cert.pem").read_text("ascii")
        self.connection = await nats.connect(
            mesh.nats_url, user_credentials=str(creds), inbox_prefix=inbox.encode(),
            tls=trusting(certificate), allow_reconnect=False, error_cb=on_error,
            closed_cb=on_closed,
        )  # fmt: skip
        return self

    async def tries(self, publish: tuple[str, ...], listen: tuple[str, ...]) -> list[str]:
        """The subjects that the broker did not refuse."""

        async def on_message(message: Any) -> None:
            self.heard.append(message)

        for subject in publish:
            await self.connection.publish(subject, b"{}")
        for subject in listen:
            await self.connection.subscribe(subject, cb=on_message)
        for _ in range(2):
            await self.connection.flush()
        said = "\n".join(self.errors)
        return [s for s in (*publish, *listen) if f'"{s.lower()}"' not in said]


@pytest.fixture
async def thief() -> AsyncIterator[Thief]:
    made = Thief()
    yield made
    if made.connection is not None:
        await made.connection.close()


def test_a_second_user_joins_with_one_command_and_its_key_never_leaves_it(
    open_mesh: Mesh, host: Host
) -> None:
    join(open_mesh, host, "gpu-7", "--site", "rome", "--pool", "batch")
    about = open_mesh.nodes()["gpu-7"]["description"]
    assert (about["labels"], len(about["devices"])) == ({"site": "rome", "pool": "batch"}, 2)
    done = open_mesh.cli("run", "--gpus", "1", "--gpu-model", "A100", "--", "id", "-u")
    assert done.stdout.strip() == str(UID)
    for path in host.membership.iterdir():
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o600, UID), path
    seed = (host.membership / "host.seed").read_bytes()
    held = [path for path in open_mesh.data.rglob("*") if path.is_file()]
    assert held and not [path for path in held if seed in path.read_bytes()]

    host.stop()
    host.start()
    host.until_it_says("taking orders")
    assert open_mesh.nodes()["gpu-7"]["key"] != ""


@pytest.mark.long
def test_a_token_lets_one_host_in(open_mesh: Mesh, host: Host, tmp_path: Path) -> None:
    token = invite(open_mesh)
    host.start("--join", token, "--node", "first")
    host.until_it_says("taking orders")
    second = Host(tmp_path / "second")
    second.start("--join", token, "--node", "second")
    assert second.exit_code() == LOCAL_REFUSAL
    assert "invitation_used" in second.said
    host.stop()
    host.start("--join", token, "--node", "first")
    host.until_it_says("taking orders")
    assert {"first"} == {"first", "second"} & set(open_mesh.nodes())


@pytest.mark.long
def test_a_host_that_finds_another_server_than_invited_it_says_nothing_to_it(
    open_mesh: Mesh, host: Host
) -> None:
    token = join_token.decode(invite(open_mesh))
    host.start("--join", join_token.encode(msgspec.structs.replace(token, fingerprint="0" * 64)))
    assert host.exit_code() == LOCAL_REFUSAL
    assert "wrong_certificate" in host.said
    assert not host.membership.exists()


@pytest.mark.long
def test_a_host_waits_until_somebody_approves_of_it(open_mesh: Mesh, host: Host) -> None:
    host.start("--join", invite(open_mesh, "--ask"), "--node", "waiting")
    host.until_it_says("waiting for approval")
    (waiting,) = [i for i in open_mesh.cli_json("node", "invitations") if i["state"] == "waiting"]
    assert waiting["host_key"] in host.said
    assert "waiting" not in open_mesh.nodes()
    open_mesh.cli("node", "approve", "waiting")
    until(lambda: "waiting" in open_mesh.nodes(), what=host.said)


async def test_a_stolen_key_is_one_node_alone_and_out_when_that_is_put_out(
    open_mesh: Mesh, host: Host, thief: Thief, eventually: Any
) -> None:
    await asyncio.to_thread(join, open_mesh, host, "leaver")
    await thief.connect(open_mesh, host.creds, "_INBOX_leaver")
    assert await thief.tries(OF_ANOTHER, TO_HEAR) == []
    assert await thief.tries((f"{ROOT}.node.leaver.heartbeat",), ()) != []
    began_ns = time.monotonic_ns()
    await asyncio.to_thread(open_mesh.cli, "node", "remove", "leaver")
    await asyncio.wait_for(thief.closed.wait(), OUT_S_MAX)
    print(f"put out {(thief.closed_ns - began_ns) / 1e6:.0f} ms after the command was typed")
    assert await asyncio.to_thread(host.exit_code) == PUT_OUT
    assert "key_revoked" in host.said
    assert open_mesh.nodes()["leaver"]["revoked"]

    async def is_let_in() -> bool:
        try:
            await Thief().connect(open_mesh, host.creds, "_INBOX_leaver")
        except nats.errors.Error as error:
            return "authorization violation" not in str(error).lower()
        return True

    assert not await is_let_in()
    open_mesh.kill(open_mesh.pid_of("nats-server"))
    await eventually(lambda: not open_mesh.cli("nodes", exit_code=None).returncode, 20)
    assert not await is_let_in(), "the broker remembers it"
    host.start()
    assert await asyncio.to_thread(host.exit_code) == PUT_OUT
    open_mesh.cli("node", "remove", "leaver")
    assert "leaver" not in open_mesh.nodes()
