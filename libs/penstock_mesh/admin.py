"""Where is the mesh that an operator's command works on, and with which credential?

By flags, else by the mesh's data directory on this machine. It does not know what commands do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock_mesh.command import default_data_directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from penstock_bus.nats import NatsBus

T = TypeVar("T")

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="PENSTOCK_DATA_DIR",
    help="Data directory of the mesh.  [default: ~/.local/share/penstock]",
)


def admin_options(command: Any) -> Any:
    """Where the mesh is: --data, --url and --creds."""
    for option in (
        click.option("--creds", help="Credential of role admin.  [default: the one in --data]"),
        click.option(
            "--url", help="Where NATS listens.  [default: where the mesh in --data listens]"
        ),
        data_option,
    ):
        command = option(command)
    return command


def admin_address(data: Path | None, url: str | None, creds: str | None) -> tuple[str, str | None]:
    """Where to connect, and the path of the credential; None for a broker that asks for none."""
    directory = data_directory(data)
    if url is not None:
        return url, creds
    return _listening(directory), creds or _admin_creds(directory)


def data_directory(data: Path | None) -> Path:
    return (data or default_data_directory()).absolute()


def run_admin(url: str, creds: str | None, work: Callable[[NatsBus], Awaitable[T]]) -> T:
    """What `work` makes of a connection. A failure becomes a sentence."""
    from penstock_bus.nats import connect

    async def connected() -> T:
        bus = await connect(url, name="penstock admin", credentials=creds)
        try:
            return await work(bus)
        finally:
            await bus.close()

    return run_to_end(connected)


def run_to_end(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    import asyncio

    from penstock_bus.port import BusRefusal, Outage
    from penstock_mesh.backup_manifest import BackupError

    try:
        return asyncio.run(work())
    except (BackupError, BusRefusal, Outage, OSError) as error:
        raise click.ClickException(str(error)) from error


def _listening(data: Path) -> str:
    import msgspec

    from penstock_mesh.data_directory import DataDirectory
    from penstock_mesh.preparation import Ports

    try:
        ports = msgspec.json.decode(DataDirectory(data).ports.read_bytes(), type=Ports)
    except (OSError, msgspec.DecodeError):
        ports = Ports()
    if ports.nats is None:
        raise click.ClickException(f"no mesh has run in {data}: say --data or --url")
    return f"nats://{ports.host}:{ports.nats}"


def _admin_creds(data: Path) -> str:
    from penstock_contracts.message_type import ADMIN
    from penstock_mesh.data_directory import DataDirectory

    path = DataDirectory(data).creds(ADMIN)
    if not path.exists():
        raise click.ClickException(f"there is no credential {path}: say --creds")
    return str(path)
