"""What has to be chosen and written before the processes of an embedded mesh can start?

Addresses, keys, credentials, the broker's configuration, the HTTP token, and the user's context
file. It starts nothing.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock_bus.authority import CREDS_FILE, KEYS_FILE
from penstock_bus.buckets import streams_of
from penstock_bus.port import Bus
from penstock_contracts.message_type import ADMIN, CLIENT, NODE
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_mesh import nats_server
from penstock_mesh.command_lines import SERVICES, Addresses, node_creds
from penstock_mesh.credentials import Trust
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.fleet import Node, SimulatedGroup
from penstock_mesh.ports import any_free_ports, choose_port
from penstock_mesh.private_file import write_private

LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::")
NATS_PORT = 4222
HTTP_PORT = 8470
GATEWAY = "gateway"
TOKEN_BYTES = 32


class MeshOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `penstock up` was asked for. Ports: None = the default or a free one, 0 = a free one.
    `listen`: where the broker alone listens, over TLS, for other hosts; None = on `bind`.
    `sync_interval`: how long the broker may wait until it syncs to disk; `always` = not at all.
    `policy`, `workload`: the scheduler's; None = its default.
    """

    data: Path
    bind: str = LOOPBACK
    listen: str | None = None
    port: int | None = None
    http_port: int | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    simulate: tuple[SimulatedGroup, ...] = ()
    local_node: bool = True
    sync_interval: str = "10s"
    policy: str | None = None
    workload: Path | None = None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the user's other commands need to find the mesh. `ca`: by what it is trusted; "" = the
    system's authorities."""

    nats_url: str
    creds: str
    http_url: str
    http_token_file: str
    ca: str = ""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where the mesh of a directory listened last; None = never yet."""

    nats: int | None = None
    http: int | None = None
    host: str = "localhost"


def choose_addresses(options: MeshOptions, directory: DataDirectory) -> Addresses:
    """Raises PortsError. What was chosen is noted in the directory, for the next time."""
    last = _previous_ports(directory)
    nats_bind = options.listen or options.bind
    port = choose_port(nats_bind, options.port, NATS_PORT, previous=last.nats, flag="--port")
    http_port = choose_port(
        options.bind, options.http_port, HTTP_PORT, previous=last.http, flag="--http-port"
    )
    nats_host, host = _url_host(nats_bind), _url_host(options.bind)
    noted = Ports(nats=port, http=http_port, host=nats_host)
    write_private(directory.ports, msgspec.json.encode(noted))
    secure = options.tls_certificate is not None
    certificate, key = options.tls_certificate, options.tls_key
    if options.listen is not None and not secure:
        certificate, key = directory.certificate, directory.certificate_key
    unasked = [name for name in SERVICES if name != GATEWAY]
    monitor_port, *health_ports = any_free_ports(LOOPBACK, 1 + len(unasked))
    return Addresses(
        bind=options.bind,
        nats_bind=nats_bind,
        nats_url=f"{'nats' if certificate is None else 'tls'}://{nats_host}:{port}",
        nats_port=port,
        monitor_port=monitor_port,
        http_url=f"{'https' if secure else 'http'}://{host}:{http_port}",
        http_port=http_port,
        health_ports=dict(zip(unasked, health_ports, strict=True)),
        tls_certificate=certificate,
        tls_key=key,
    )


def write_files(
    options: MeshOptions, addresses: Addresses, directory: DataDirectory, fleet: Sequence[Node]
) -> None:
    """Keys and credentials that exist stay; everything is readable by its owner only. Raises
    CertificateUnfit."""
    now_s = int(time.time())
    if addresses.tls_certificate == directory.certificate:
        from penstock_mesh.certificates import ensure_certificate

        ensure_certificate(
            directory.certificate, directory.certificate_key, addresses.nats_bind, now_s
        )
    trust = write_credentials(directory, {node.name: node_creds(node) for node in fleet}, now_s)
    settings = nats_server.ServerSettings(
        name="penstock",
        bind=addresses.nats_bind,
        port=addresses.nats_port,
        monitor_port=addresses.monitor_port,
        store_directory=directory.nats_store,
        sync_interval=options.sync_interval,
        operator_jwt=trust.operator_jwt(now_s),
        system_account=trust.system_account,
        account_jwts=trust.account_jwts(now_s),
        accounts_directory=directory.accounts,
        tls_certificate=addresses.tls_certificate,
        tls_key=addresses.tls_key,
    )
    write_private(directory.nats_config, nats_server.render_config(settings).encode("utf-8"))


def write_credentials(directory: DataDirectory, nodes: Mapping[str, Path], now_s: int) -> Trust:
    """Keys, the part of them that inventory needs, one credential per service and node (`nodes`:
    name → path), the local user's, and the HTTP token. What exists stays.
    """
    trust = Trust.load_or_create(directory.keys)
    write_private(directory.authority / KEYS_FILE, msgspec.json.encode(trust.authority_keys()))
    trust.ensure_registrar_creds(directory.authority / CREDS_FILE, now_s)
    trust.ensure_creds(directory.client_creds, CLIENT, "local", now_s)
    for role in (ADMIN, *SERVICES):
        trust.ensure_creds(directory.creds(role), role, role, now_s)
    for name, path in nodes.items():
        trust.ensure_creds(path, NODE, name, now_s)
    if not directory.http_token.exists():
        write_private(directory.http_token, secrets.token_urlsafe(TOKEN_BYTES).encode("ascii"))
    return trust


async def make_storage(bus: Bus, replicas: int = 1) -> list[str]:
    """Every stream and bucket with its bounds of today; their names. What has more replicas
    already keeps them."""
    behind_buckets = [
        *streams_of(BUCKETS, objects=False),
        *streams_of(OBJECT_BUCKETS, objects=True),
    ]
    await bus.ensure_streams(
        [msgspec.structs.replace(stream, replicas=replicas) for stream in STREAMS]
        + [msgspec.structs.replace(stream, replicas=replicas) for stream in behind_buckets]
    )
    return [*(stream.name for stream in STREAMS), *BUCKETS, *OBJECT_BUCKETS]


def write_context(context: Context) -> Path:
    """Leaves the user's context file, which commands without flags read. Returns its path."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = home / "penstock" / "context.json"
    write_private(path, msgspec.json.format(msgspec.json.encode(context)) + b"\n")
    return path


def reachable_host(bind: str) -> str:
    """Where processes on this machine reach a server that listens on `bind`."""
    return "localhost" if bind in WILDCARDS else bind


def _previous_ports(directory: DataDirectory) -> Ports:
    try:
        return msgspec.json.decode(directory.ports.read_bytes(), type=Ports)
    except (FileNotFoundError, msgspec.DecodeError):
        return Ports()


def _url_host(bind: str) -> str:
    host = reachable_host(bind)
    return f"[{host}]" if ":" in host else host
