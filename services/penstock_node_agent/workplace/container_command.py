"""How is an order for a container said to podman?

Everything that stands between `podman run` and its first argument, and what the job's environment
is inside. It does not know who runs it, nor which options this host needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from penstock_contracts.leases import LeaseOrder

WORK = "/penstock/job"
SECRETS = "/penstock/secrets"
SECRETS_VARIABLE = "PENSTOCK_SECRETS"
DIRECTORY_LETTERS = 8
DIRECTORY_LABEL = "penstock.directory"
CPU_SHARES = 1024
"""Of one core; podman's own unit."""
CPU_SHARES_MIN = 2


class Owner(NamedTuple):
    """Whose containers these are: only what bears all three is ever removed. `directory`: of this
    state directory, drawn once."""

    mesh: str
    node: str
    directory: str

    @property
    def labels(self) -> dict[str, str]:
        return {
            "penstock.mesh": self.mesh,
            "penstock.node": self.node,
            DIRECTORY_LABEL: self.directory,
        }


class Places(NamedTuple):
    """Directories of the host that this node, and not the job, puts inside: the attempt's, its
    secrets', that of the MPS daemon. "" = none."""

    work: str
    secrets: str = ""
    mps: str = ""


def name_of(owner: Owner, order: LeaseOrder) -> str:
    """Of no other state directory on this host, whatever it runs."""
    job = f"{order.job_id}-{order.attempt}-{order.rank}"
    return f"penstock-{owner.mesh}-{job}-{owner.directory[:DIRECTORY_LETTERS]}"


def arguments(
    order: LeaseOrder,
    env: dict[str, str],
    *,
    owner: Owner,
    options: Sequence[str],
    places: Places,
    devices: Sequence[str],
) -> list[str]:
    """Options, image and command. `env`, the job's, is changed to what holds inside. `options`:
    the operator's; what the job says comes behind them. `devices`: CDI names."""
    container = order.container
    if container is None:
        raise ValueError(f"{order.key} runs in no container")
    labels = {
        **owner.labels,
        "penstock.lease": order.key,
        "penstock.tenant": order.tenant,
        "penstock.job": order.job_id,
        "penstock.attempt": str(order.attempt),
        "penstock.rank": str(order.rank),
    }
    args = ["--security-opt=no-new-privileges", "--pids-limit=-1", "--http-proxy=false", *options]
    args += [f"--label={name}={value}" for name, value in labels.items()]
    args += [f"--network={container.network}", f"--workdir={container.workdir or WORK}"]
    args.append(f"--volume={places.work}:{WORK}:U")  # made the user's that the job is inside
    args += _mounts(order, env, places)
    if container.user:
        args.append(f"--user={container.user}")
    if container.entrypoint is not None:
        args.append(f"--entrypoint={msgspec.json.encode(container.entrypoint).decode()}")
    args += _limits(order)
    args += [f"--device={device}" for device in devices]
    return [*args, "--", container.image, *order.command]


def _mounts(order: LeaseOrder, env: dict[str, str], places: Places) -> list[str]:
    args = []
    for mount in order.container.mounts if order.container is not None else ():
        args.append(f"--volume={mount.source}:{mount.target}" + ":ro" * mount.read_only)
    if places.secrets:
        args.append(f"--volume={places.secrets}:{SECRETS}:ro")
        env[SECRETS_VARIABLE] = SECRETS
    if places.mps:  # its clients share memory with the daemon
        args += [f"--volume={places.mps}:{places.mps}", "--ipc=host"]
    return args


def _limits(order: LeaseOrder) -> list[str]:
    args = [f"--ulimit={name}={value}:{value}" for name, value in sorted(order.rlimits.items())]
    if order.cpu_milli:
        shares = max(CPU_SHARES_MIN, order.cpu_milli * CPU_SHARES // 1000)
        args.append(f"--cpu-shares={shares}")
    if order.memory_limit_mib is not None:
        size = f"{order.memory_limit_mib}m"
        args += [f"--memory={size}", f"--memory-swap={size}"]
    if order.pids_max is not None:
        args.append(f"--pids-limit={order.pids_max}")
    shm = order.container.shm_mib if order.container is not None else None
    if shm is not None:
        args.append(f"--shm-size={shm}m")
    return args


def inside(
    env: Mapping[str, str], base: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """A job's environment without what this host gives every program (`base`), unless the job
    itself (`own`) says it: an image has a PATH of its own."""
    return {name: value for name, value in env.items() if name not in base or name in own}
