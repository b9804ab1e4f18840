"""What is the exact command line of each process of an embedded mesh?

The list of children as data. Only the agents' command lines contain the word `agent`. It starts
nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock_mesh.child import ChildSpec
from penstock_mesh.data_directory import REAPER_PID_FILE, DataDirectory
from penstock_mesh.fleet import Node

SERVER = "nats-server"
SERVICES = ("inventory", "scheduler", "metering", "gateway")
NODE_CREDS = "node.creds"
AGENT_PREFIX = "node-"
"""A child's name is its log's, so a node must not be called like a service."""


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything of one mesh listens. `health_ports`: one per service but the gateway. The
    certificate is the broker's, and the gateway's where that speaks TLS."""

    bind: str
    nats_bind: str
    nats_url: str
    nats_port: int
    monitor_port: int
    http_url: str
    http_port: int
    health_ports: dict[str, int]
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """A given certificate is what children trust the broker by."""
        if self.tls_certificate is None:
            return {}
        return {"SSL_CERT_FILE": str(self.tls_certificate)}


def server_child(binary: Path, directory: DataDirectory) -> ChildSpec:
    """The broker shares the machine with everything else: on all cores at once its idle threads
    look for work at the others' expense (a fifth of its CPU on two cores). GOMAXPROCS wins."""
    return ChildSpec(
        name=SERVER,
        argv=(str(binary), "--config", str(directory.nats_config)),
        log=directory.log(SERVER),
        directory=directory.root,
        environment={"GOMAXPROCS": os.environ.get("GOMAXPROCS", str(broker_threads()))},
    )


def broker_threads() -> int:
    """Half of the cores that this process may use, at least one."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def service_child(
    name: str, addresses: Addresses, directory: DataDirectory, more: Sequence[str] = ()
) -> ChildSpec:
    """`more`: flags of this service only."""
    flags = [
        *("--nats-url", addresses.nats_url),
        *("--creds", str(directory.creds(name))),
        *("--data-dir", str(directory.service(name))),
    ]
    if name == "inventory":
        flags += ["--authority", str(directory.authority)]
    if name == "gateway":
        flags += [
            *("--http-host", addresses.bind),
            *("--http-port", str(addresses.http_port)),
            *("--token-file", str(directory.http_token)),
        ]
        if addresses.http_url.startswith("https:"):
            flags += ["--tls-cert", str(addresses.tls_certificate)]
            flags += ["--tls-key", str(addresses.tls_key)]
    else:
        flags += ["--http-port", str(addresses.health_ports[name])]
    return _python_child(name, name, [*flags, *more], addresses, directory)


def scheduler_flags(policy: str | None, workload: Path | None) -> tuple[str, ...]:
    """What the scheduler alone is told; None = nothing."""
    flags = [] if policy is None else ["--policy", policy]
    return (*flags, *([] if workload is None else ["--workload", str(workload)]))


def agent_child(node: Node, addresses: Addresses, directory: DataDirectory) -> ChildSpec:
    flags = [
        *("--node", node.name),
        *("--nats-url", addresses.nats_url),
        *("--creds", str(node_creds(node))),
        *("--state-dir", str(node.directory)),
        *("--port-range", f"{node.port_first}-{node.port_last}"),
        *("--driver", node.driver),
        "--stop-work-on-exit",
    ]
    for key, value in node.labels.items():
        flags += ["--label", f"{key}={value}"]
    spec = _python_child(agent_name(node), "agent", flags, addresses, directory)
    return msgspec.structs.replace(spec, reaper_pid_file=node.directory / REAPER_PID_FILE)


def agent_name(node: Node) -> str:
    return AGENT_PREFIX + node.name


def node_creds(node: Node) -> Path:
    return node.directory / NODE_CREDS


def _python_child(
    name: str, command: str, flags: list[str], addresses: Addresses, directory: DataDirectory
) -> ChildSpec:
    """`-P`: modules must not come from whatever directory the process is started in."""
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-P", "-m", "penstock_client", command, *flags),
        log=directory.log(name),
        directory=directory.root,
        environment=addresses.environment,
    )
