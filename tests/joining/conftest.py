"""Which mesh do tests of joining talk to?

A real broker with the mesh's accounts, TLS and a memory for accounts; inventory beside the test in
one process, with its keys; an operator's connection. It does not know what is tried.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock_bus.authority import CREDS_FILE, KEYS_FILE, NatsAuthority
from penstock_bus.nats import NatsBus, connect
from penstock_bus.pinning import trusting
from penstock_client.client import Client
from penstock_client.inviting import invite
from penstock_contracts.joining import InviteNode
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_inventory.service import Inventory
from penstock_mesh import nats_server
from penstock_mesh.certificates import ensure_certificate
from penstock_mesh.credentials import Trust
from penstock_mesh.ports import any_free_port
from penstock_mesh.private_file import write_private
from penstock_node_agent.joining.admission import join
from penstock_node_agent.joining.membership import MembershipFiles
from penstock_node_agent.reaper.disk import Disk
from penstock_runtime.clock import SystemClock
from penstock_runtime.process import StopSignal

START_TIMEOUT_S = 10.0
POLL_S = 0.01


def now_s() -> int:
    return time.time_ns() // 10**9


class Broker:
    """A real one, with everything that a mesh's has."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trust = Trust.load_or_create(directory / "keys.json")
        self.certificate = directory / "cert.pem"
        ensure_certificate(self.certificate, directory / "key.pem", "127.0.0.1", now_s())
        self.port = any_free_port("127.0.0.1")
        self.url = f"tls://127.0.0.1:{self.port}"
        self.authority = directory / "authority"
        keys = msgspec.json.encode(self.trust.authority_keys())
        write_private(self.authority / KEYS_FILE, keys)
        self.trust.ensure_registrar_creds(self.authority / CREDS_FILE, now_s())
        settings = nats_server.ServerSettings(
            name="test",
            bind="127.0.0.1",
            port=self.port,
            monitor_port=0,
            store_directory=directory / "store",
            sync_interval="10s",
            operator_jwt=self.trust.operator_jwt(now_s()),
            system_account=self.trust.system_account,
            account_jwts=self.trust.account_jwts(now_s()),
            accounts_directory=directory / "accounts",
            tls_certificate=self.certificate,
            tls_key=directory / "key.pem",
        )
        config = directory / "nats-server.conf"
        config.write_text(nats_server.render_config(settings), encoding="utf-8")
        self._argv = [
            str(nats_server.find_server()), "-c", str(config), "--ports_file_dir", str(directory),
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with open(self.directory / "server.log", "ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log)
        ports = self.directory / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (ports.exists() and ports.read_text(encoding="utf-8").endswith("}")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.directory / "server.log").read_text(encoding="utf-8"))
            time.sleep(POLL_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def trusting(self) -> Any:
        return trusting(self.certificate.read_text("ascii"))

    async def connect(self, role: str, name: str, **options: Any) -> NatsBus:
        creds = self.directory / f"{role}-{name}.creds"
        self.trust.ensure_creds(creds, role, name, now_s())
        return await connect(
            self.url, name=name, credentials=str(creds), tls=self.trusting, **options
        )


class Mesh:
    """The broker with inventory at work, and an operator."""

    def __init__(self, broker: Broker, inventory: Inventory, operator: Client) -> None:
        self.broker, self.inventory, self.operator = broker, inventory, operator

    async def invite(self, **wishes: Any) -> str:
        token, _ = await invite(self.operator, self.broker.url, InviteNode(key="", **wishes))
        return token

    async def join(self, directory: Path, node: str, **wishes: Any) -> MembershipFiles:
        """A host with its files below `directory` is `node` when this returns."""
        files = files_in(directory)
        await join(await self.invite(**wishes), node, files, lambda _: None)
        return files


def files_in(directory: Path) -> MembershipFiles:
    return MembershipFiles(Disk(), directory)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("broker"))
    yield made
    made.kill()


@pytest.fixture
async def joined_mesh(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> AsyncIterator[Mesh]:
    """Inventory leads when the test begins; what it holds goes on from test to test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.certificate))
    admin = await broker.connect("admin", "setup")
    await admin.ensure_streams(STREAMS)
    await admin.ensure_buckets(BUCKETS)
    await admin.ensure_buckets(OBJECT_BUCKETS, objects=True)
    bus = await broker.connect("inventory", "inventory")
    authority = NatsAuthority(broker.authority, broker.url, now_s)
    inventory = Inventory(bus, clock=SystemClock(), authority=authority)
    stop = StopSignal()
    running = asyncio.ensure_future(inventory.run(stop))
    await eventually(lambda: inventory.service.phase == "active")
    operator = Client(await broker.connect("client", "local"))
    yield Mesh(broker, inventory, operator)
    stop.request("the test ends")
    await running
    for one in (operator.bus, bus, admin):
        await one.close()
