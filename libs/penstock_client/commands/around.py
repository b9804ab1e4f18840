"""What does a job want around its command, as a person reads it?

Secrets by their names. It does not know what became of any of it.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock_contracts.jobs import JobSpec
    from penstock_contracts.work import Container


def around(spec: JobSpec) -> list[tuple[str, str]]:
    """A name and a value each; empty values say nothing."""
    container = spec.container
    limits = [f"{name} {number}" for name, number in sorted(spec.rlimits.items())]
    if spec.pids_max is not None:
        limits.append(f"{spec.pids_max} processes and threads")
    if spec.gpu_enforced:
        limits.append("its part of the GPU enforced")
    secrets = (
        f"{one.name} as {one.env or f'$PENSTOCK_SECRETS/{one.path}'}" for one in spec.secrets
    )
    return [
        ("image", "" if container is None else f"{container.image} (pull {container.pull})"),
        ("container", "" if container is None else _container(container)),
        ("user", spec.user),
        ("limits", ", ".join(limits)),
        ("private tmp", "yes" if spec.private_tmp else ""),
        ("inputs", ", ".join(f"{one.path} from {one.source}" for one in spec.inputs)),
        ("outputs", ", ".join(f"{one.path} to {one.target}" for one in spec.outputs)),
        ("secrets", ", ".join(secrets)),
    ]


def _container(container: Container) -> str:
    said = [f"network {container.network}"]
    if container.entrypoint is not None:
        said.append(f"entrypoint {shlex.join(container.entrypoint) or 'none'}")
    if container.user:
        said.append(f"user {container.user}")
    if container.workdir:
        said.append(f"in {container.workdir}")
    if container.shm_mib is not None:
        said.append(f"{container.shm_mib} MiB of shared memory")
    for mount in container.mounts:
        said.append(f"{mount.source} at {mount.target}{'' if mount.read_only else ' (writable)'}")
    return ", ".join(said)
