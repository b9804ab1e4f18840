"""Which settings does the node agent have?"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.ids import TOKEN
from penstock_runtime.config import CommonConfig

NodeName = Annotated[
    str,
    Meta(description="This node's name, a subject token.", pattern=rf"^(?:{TOKEN.pattern})$(?!\n)"),
]


def default_node() -> str:
    """The host's name without its domain, as a token."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0])[:63] or "local"


class Config(CommonConfig, frozen=True, kw_only=True):
    """`labels` may be changed by restarting; `state_dir` belongs to one node for ever."""

    node: NodeName = msgspec.field(default_factory=default_node)
    state_dir: Annotated[
        Path | None,
        Meta(description="This node's state; unset = nodes/NODE in the data directory."),
    ] = None
    driver: Annotated[
        str,
        Meta(
            description="auto, nvml, cpu, command:/PROGRAM that describes devices, or "
            "simulated:COUNTxMODEL such as simulated:8xH100."
        ),
    ] = "auto"
    port_range: Annotated[
        str, Meta(description="Ports for rendezvous, FIRST-LAST, outside the ephemeral range.")
    ] = "20000-20999"
    advertise_address: Annotated[
        str, Meta(description="Where other nodes reach the jobs of this one.")
    ] = "127.0.0.1"
    labels: Annotated[
        dict[str, str], Meta(description="Label of this node.", extra={"flags": ("--label",)})
    ] = {}
    heartbeat_s: Annotated[
        float,
        Meta(
            description="Seconds between heartbeats; inventory's patience must be more than two.",
            ge=0.1,
            le=600,
            extra={"flags": ("--heartbeat",)},
        ),
    ] = 1.0
    sample_s: Annotated[
        float, Meta(description="Seconds between readings of the devices.", ge=0.1, le=3_600)
    ] = 10.0
    spool_mib: Annotated[
        float,
        Meta(
            description="MiB of an attempt's output that may wait on disk; the oldest goes.",
            ge=0.001,
        ),
    ] = 1024.0
    spool_node_mib: Annotated[
        float, Meta(description="The same for all attempts of the node.", ge=0.001)
    ] = 8192.0
    allow_mounts: Annotated[
        tuple[str, ...],
        Meta(
            description="Directory whose files jobs may name and containers may mount; {tenant} in "
            "it stands for the job's.",
            extra={"flags": ("--allow-mount",)},
        ),
    ] = ()
    idle_memory_mib: Annotated[
        int,
        Meta(
            description="Memory that may be in use on an idle device beside what its driver keeps.",
            ge=0,
            le=1_000_000,
        ),
    ] = 600
    sanity_s: Annotated[
        float, Meta(description="Seconds between tests of idle devices.", ge=0.1, le=86_400)
    ] = 600.0
    sanity_command: Annotated[
        str,
        Meta(description="Program that tests the idle device PENSTOCK_DEVICE; exit code 0 = well."),
    ] = ""
    sanity_timeout_s: Annotated[
        float, Meta(description="Seconds that such a test may take.", ge=0.1, le=3_600)
    ] = 60.0
    podman: Annotated[
        str,
        Meta(
            description="Program that runs containers; auto = podman, unless devices are "
            "simulated; none = no containers."
        ),
    ] = "auto"
    podman_options: Annotated[
        tuple[str, ...],
        Meta(
            description="Option of podman itself, such as --runtime=runc.",
            extra={"flags": ("--podman-option",)},
        ),
    ] = ()
    container_options: Annotated[
        tuple[str, ...],
        Meta(
            description="Option of podman run for every container, such as --init; what a job says "
            "comes behind it.",
            extra={"flags": ("--container-option",)},
        ),
    ] = ()
    cdi_kind: Annotated[
        str,
        Meta(
            description="Kind of the devices in CDI, VENDOR/CLASS, whose names there are their "
            "UUIDs; unset = by the driver."
        ),
    ] = ""
    image_pull_s: Annotated[
        float, Meta(description="Seconds that an image may take to arrive.", ge=1, le=86_400)
    ] = 1800.0
    mps: Annotated[
        str,
        Meta(
            description="Hold jobs to parts of NVIDIA devices: auto, on (any driver), off.",
            pattern="^(auto|on|off)$(?!\\n)",
        ),
    ] = "auto"
    disk_free_mib: Annotated[
        float,
        Meta(description="With less room on the state's disk nothing new is taken.", ge=0),
    ] = 256.0
    drain_on_stop_s: Annotated[
        float,
        Meta(
            description="Seconds after SIGTERM in which nothing new is taken and work may end; "
            "0 = none.",
            ge=0,
            le=604_800,
            extra={"flags": ("--drain-on-stop",)},
        ),
    ] = 0.0
    stop_work_on_exit: Annotated[
        bool, Meta(description="SIGTERM stops all work and the reaper; else both go on.")
    ] = False

    join: Annotated[
        str | None,
        Meta(
            description="Token of `penstock node invite`: become a node of that mesh, once; "
            "- reads it from standard input."
        ),
    ] = None

    @property
    def membership(self) -> Path:
        """Where a host that has joined keeps what proves it."""
        return (self.state_dir or self.data_dir) / "membership"

    @property
    def directory(self) -> Path:
        return self.state_dir or self.data_dir / "nodes" / self.node
