"""Which broker do tests of credentials talk to?

A real nats-server in operator mode with the mesh's own accounts, its streams, and plain nats-py
connections with freshly minted credentials. It does not know what is tried.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from penstock_bus.nats import connect
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_mesh import nats_server
from penstock_mesh.credentials import Trust
from penstock_mesh.ports import any_free_port

NOW_S = 1_700_000_000
START_TIMEOUT_S = 10.0
POLL_S = 0.01


class OperatorServer:
    """A running broker that trusts `trust`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trust = Trust.load_or_create(directory / "keys.json")
        self.port = any_free_port("127.0.0.1")
        self.url = f"nats://127.0.0.1:{self.port}"
        config = directory / "nats-server.conf"
        settings = nats_server.ServerSettings(
            name="test",
            bind="127.0.0.1",
            port=self.port,
            monitor_port=0,
            store_directory=directory / "store",
            sync_interval="10s",
            operator_jwt=self.trust.operator_jwt(NOW_S),
            system_account=self.trust.system_account,
            account_jwts=self.trust.account_jwts(NOW_S),
        )
        config.write_text(nats_server.render_config(settings), encoding="utf-8")
        self._log = open(directory / "server.log", "ab")  # noqa: SIM115 - closed in `stop`
        self._process = subprocess.Popen(
            [str(nats_server.find_server()), "-c", str(config), "--ports_file_dir", str(directory)],
            stdout=self._log,
            stderr=self._log,
        )
        ports = directory / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (ports.exists() and ports.read_text(encoding="utf-8").endswith("}")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((directory / "server.log").read_text(encoding="utf-8"))
            time.sleep(POLL_S)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


class User:
    """A connection with one credential. `errors` collects what the broker refused, `heard` what
    arrived on the subjects listened to.
    """

    def __init__(self) -> None:
        self.connection: Any = None
        self.errors: list[str] = []
        self.heard: list[Any] = []

    @property
    def js(self) -> Any:
        return self.connection.jetstream()

    async def listen(self, *subjects: str) -> None:
        async def on_message(message: Any) -> None:
            self.heard.append(message)

        for subject in subjects:
            await self.connection.subscribe(subject, cb=on_message)
        await self.settle()

    async def settle(self) -> None:
        """Returns when the broker has processed all that was sent (one flush is no barrier)."""
        for _ in range(2):
            await self.connection.flush()


class Users:
    """Makes connections to one broker; `close` ends them."""

    def __init__(self, server: OperatorServer) -> None:
        self._server = server
        self._made: list[User] = []

    async def connect(self, role: str, name: str) -> User:
        creds = self._server.directory / f"{role}-{name}-{os.urandom(4).hex()}.creds"
        creds.write_text(self._server.trust.mint(role, name, NOW_S), encoding="ascii")
        user = User()

        async def on_error(error: Exception) -> None:
            user.errors.append(str(error))

        prefix = f"_INBOX_{name}" if role == "node" else "_INBOX"
        user.connection = await nats.connect(
            self._server.url,
            user_credentials=str(creds),
            error_cb=on_error,
            inbox_prefix=prefix.encode(),
            allow_reconnect=False,
        )
        self._made.append(user)
        return user

    async def close(self) -> None:
        for user in self._made:
            await user.connection.close()


@pytest.fixture(scope="session")
def operator_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorServer]:
    server = OperatorServer(tmp_path_factory.mktemp("operator"))
    yield server
    server.stop()


@pytest.fixture
async def users(operator_server: OperatorServer) -> AsyncIterator[Users]:
    """Connections to a broker that has the mesh's streams and buckets."""
    creds = operator_server.directory / "admin.creds"
    creds.write_text(operator_server.trust.mint("admin", "setup", NOW_S), encoding="ascii")
    bus = await connect(operator_server.url, name="setup", credentials=str(creds))
    await bus.ensure_streams(STREAMS)
    await bus.ensure_buckets(BUCKETS)
    await bus.ensure_buckets(OBJECT_BUCKETS, objects=True)
    await bus.close()
    made = Users(operator_server)
    yield made
    await made.close()
