"""How does a new data directory get a broker to restore into, before its mesh first runs?

Starts the embedded nats-server alone on a free port of loopback, connects as admin, and ends it
afterwards. It does not know what is restored.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import Outage
from penstock_contracts.message_type import ADMIN
from penstock_mesh.backup_manifest import BackupError
from penstock_mesh.command_lines import SERVER
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.nats_server import find_server
from penstock_mesh.preparation import MeshOptions, choose_addresses, write_files
from penstock_mesh.private_file import make_private_directory

START_S = 20.0
CONNECT_S = 1.0
POLL_S = 0.05
STOP_S = 60.0
"""The server syncs what it was given before it ends."""


@asynccontextmanager
async def temporary_broker(data: Path) -> AsyncIterator[NatsBus]:
    """A connection to a broker over the directory's own storage. Raises BackupError."""
    directory = DataDirectory(data)
    options = MeshOptions(data=data, port=0, http_port=0, sync_interval="always")
    addresses = choose_addresses(options, directory)
    write_files(options, addresses, directory, ())
    directory.ports.unlink()  # the mesh chooses its own
    server = _start(directory)
    try:
        bus = await _connect(addresses.nats_url, directory, server)
        try:
            yield bus
        finally:
            await bus.close()
    finally:
        server.terminate()
        try:
            await asyncio.to_thread(server.wait, STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _start(directory: DataDirectory) -> subprocess.Popen[bytes]:
    log = directory.log(SERVER)
    make_private_directory(log.parent)
    with open(log, "ab") as output:
        argv = [str(find_server()), "--config", str(directory.nats_config)]
        return subprocess.Popen(argv, stdout=output, stderr=output)


async def _connect(url: str, directory: DataDirectory, server: subprocess.Popen[bytes]) -> NatsBus:
    deadline_s = asyncio.get_running_loop().time() + START_S
    creds = str(directory.creds(ADMIN))
    while True:
        try:
            return await connect(
                url, name="penstock restore", credentials=creds, connect_timeout_s=CONNECT_S
            )
        except Outage as error:
            late = asyncio.get_running_loop().time() > deadline_s
            if late or server.poll() is not None:
                log = directory.log(SERVER)
                raise BackupError(f"the broker does not start, see {log}: {error}") from error
        await asyncio.sleep(POLL_S)
