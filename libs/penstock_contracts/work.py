"""What does a job want around its command: a container, files, secrets?

And which of these a node must offer. It does not know how any of them is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.asks import GPU_MILLI_WHOLE, Argument, Fault, Milli, Text
from penstock_contracts.bounds import CONTROL, Number
from penstock_contracts.ids import ENV_NAME

if TYPE_CHECKING:
    from penstock_contracts.jobs import JobSpec

CONTAINERS = "containers"
MEMORY_LIMIT = "memory_limit"
PIDS_LIMIT = "pids_limit"
USERS = "users"
PRIVATE_TMP = "private_tmp"
FRACTIONS = "fractions"
PAID_TIME = "paid_time"
OFFERS = (CONTAINERS, MEMORY_LIMIT, PIDS_LIMIT, USERS, PRIVATE_TMP, FRACTIONS, PAID_TIME)
"""What a node may be able to do beyond running a program; what it cannot it does not name."""

RLIMITS = ("as", "core", "data", "fsize", "memlock", "nofile", "nproc", "stack")
PATH_LETTERS_MAX = 1_024
MOUNTS_MAX = 32
FILES_MAX = 256
SECRETS_MAX = 64
PIDS_MAX = 4_194_304

OBJECT = "object:"
FILE = "file:"
RANK = "{rank}"
"""Stands for the rank's number in an input's source and an output's target."""

Path = Annotated[str, Meta(max_length=PATH_LETTERS_MAX)]
Place = Annotated[str, Meta(max_length=PATH_LETTERS_MAX, pattern=r"^(object:[^/]|file:/)")]
"""`object:NAME` in the tenant's file store, or `file:/PATH` that is mounted on the host."""
Rlimit = Literal["as", "core", "data", "fsize", "memlock", "nofile", "nproc", "stack"]
Rlimits = Annotated[dict[Rlimit, Number], Meta(max_length=len(RLIMITS))]
Pids = Annotated[int, Meta(ge=1, le=PIDS_MAX)]


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A directory or file of the host inside a container. The host's operator says which may be."""

    source: Path
    target: Path
    read_only: bool = True


class Container(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Run the command inside an image. `entrypoint` None = the image's own; `workdir` "" = the
    attempt's directory, which is mounted there.
    """

    image: Annotated[str, Meta(min_length=1, max_length=512)]
    pull: Literal["missing", "always", "never"] = "missing"
    entrypoint: Annotated[tuple[Argument, ...], Meta(max_length=64)] | None = None
    network: Literal["host", "none", "bridge"] = "host"
    user: Text = ""
    workdir: Path = ""
    mounts: Annotated[tuple[Mount, ...], Meta(max_length=MOUNTS_MAX)] = ()
    shm_mib: Milli | None = None


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that is there before the command begins. `path`: below the work directory. `sha256`:
    in hexadecimal; "" = whatever it holds. `{rank}` in `source` stands for the rank.
    """

    source: Place
    path: Path
    sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$(?!\n)")] = ""


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that is stored when the command has ended. Without one that is `required`, an attempt
    that exited with 0 has failed. `{rank}` in `target` stands for the rank.
    """

    path: Path
    target: Place
    required: bool = True


class StoredOutput(msgspec.Struct, frozen=True):
    """An output as it was stored."""

    path: Path
    target: Place
    sha256: Annotated[str, Meta(max_length=64)]
    bytes: Number


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A secret of the tenant, by its name: as a variable `env`, or in a file `path` of the secrets'
    directory (PENSTOCK_SECRETS).
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)")]
    env: Annotated[str, Meta(max_length=256)] = ""
    path: Annotated[str, Meta(max_length=256)] = ""


Inputs = Annotated[tuple[Input, ...], Meta(max_length=FILES_MAX)]
Outputs = Annotated[tuple[Output, ...], Meta(max_length=FILES_MAX)]
Secrets = Annotated[tuple[Secret, ...], Meta(max_length=SECRETS_MAX)]


def needs(job: JobSpec) -> tuple[str, ...]:
    """What a node must offer to run it, sorted."""
    if not (job.container or job.user or job.pids_max or job.private_tmp or job.gpu_enforced):
        return ()
    found = (
        (CONTAINERS, job.container is not None),
        (FRACTIONS, job.gpu_enforced and job.gpu_milli < GPU_MILLI_WHOLE),
        (PIDS_LIMIT, job.pids_max is not None),
        (PRIVATE_TMP, job.private_tmp and job.container is None),
        (USERS, job.user != "" and job.container is None),
    )
    return tuple(word for word, wanted in found if wanted)


def inputs_of(inputs: Inputs, rank: int) -> Inputs:
    """As one rank gets them."""
    if not any(RANK in one.source for one in inputs):
        return inputs
    number = str(rank)
    return tuple(Input(one.source.replace(RANK, number), one.path, one.sha256) for one in inputs)


def outputs_of(outputs: Outputs, rank: int) -> Outputs:
    """As one rank stores them."""
    if not any(RANK in one.target for one in outputs):
        return outputs
    number = str(rank)
    return tuple(
        Output(one.path, one.target.replace(RANK, number), one.required) for one in outputs
    )


def work_fault(job: JobSpec) -> Fault | None:
    """The first contradiction in what a job wants around its command; None when there is none."""
    if not job.command and job.container is None:
        return "invalid_field", "command must name a program; only an image has one", "command"
    if job.command and not job.command[0]:
        return "invalid_field", "command must name a program", "command[0]"
    if CONTROL.search(job.user):
        return "invalid_field", "user must not contain control characters", "user"
    parts = (job.gpu_milli, *(one.gpu_milli for one in job.alternatives))
    if job.gpu_enforced and min(parts) == GPU_MILLI_WHOLE:
        return "invalid_field", "gpu_enforced is for a part of a GPU: gpu_milli", "gpu_enforced"
    return _container_fault(job) or _files_fault(job) or _secrets_fault(job)


def _container_fault(job: JobSpec) -> Fault | None:
    container = job.container
    if container is None:
        return None
    if job.user:
        sentence = "user is for programs; inside an image it is container.user"
        return "invalid_field", sentence, "user"
    texts = [container.image, container.user, container.workdir]
    texts += [part for mount in container.mounts for part in (mount.source, mount.target)]
    if any(map(CONTROL.search, texts)) or container.image.startswith("-"):
        return "invalid_field", "container holds a text that is not allowed", "container"
    if container.entrypoint and any("\0" in part for part in container.entrypoint):
        return "invalid_field", "entrypoint must not contain NUL characters", "container"
    paths = [part for mount in container.mounts for part in (mount.source, mount.target)]
    for path in (*paths, *([container.workdir] if container.workdir else ())):
        if not path.startswith("/") or ":" in path or ".." in path.split("/"):
            sentence = f"{path[:80]!r} must be an absolute path without '..' and ':'"
            return "invalid_field", sentence, "container"
    return None


def _files_fault(job: JobSpec) -> Fault | None:
    for what, path in (
        *(("inputs", one.path) for one in job.inputs),
        *(("outputs", one.path) for one in job.outputs),
    ):
        parts = path.split("/")
        if not all(parts) or not {".", ".."}.isdisjoint(parts) or CONTROL.search(path):
            sentence = f"{what}: {path[:80]!r} must be a path below the work directory"
            return "invalid_field", sentence, what
    for what, place in (
        *(("inputs", one.source) for one in job.inputs),
        *(("outputs", one.target) for one in job.outputs),
    ):
        if CONTROL.search(place) or ".." in place.split("/"):
            sentence = f"{what}: {place[:80]!r} must be object:NAME or file:/PATH without '..'"
            return "invalid_field", sentence, what
    for what, names in (
        ("inputs", [one.path for one in job.inputs]),
        ("outputs", [one.target for one in job.outputs]),
    ):
        if len(set(names)) < len(names):
            return "invalid_field", f"{what} must not name one place twice", what
    if job.ranks > 1 and not all(RANK in one.target for one in job.outputs):
        sentence = "outputs of several ranks need {rank} in their targets, else the last one stays"
        return "invalid_field", sentence, "outputs"
    return None


def _secrets_fault(job: JobSpec) -> Fault | None:
    places = [secret.env or f"/{secret.path}" for secret in job.secrets]
    if len(set(places)) < len(places):
        return "invalid_field", "secrets must not share a variable or a file", "secrets"
    for secret in job.secrets:
        if bool(secret.env) == bool(secret.path):
            sentence = f"secret {secret.name}: give it an env or a path"
            return "invalid_field", sentence, "secrets"
        if secret.env and (not ENV_NAME.fullmatch(secret.env) or secret.env in job.env):
            sentence = f"secret {secret.name}: env name {secret.env[:40]!r} is taken or not allowed"
            return "invalid_field", sentence, "secrets"
        if secret.path and (
            CONTROL.search(secret.path) or "/" in secret.path or secret.path in (".", "..")
        ):
            sentence = f"secret {secret.name}: path is the name of a file, without '/'"
            return "invalid_field", sentence, "secrets"
    return None
