"""What may a requester ask for, and which states can a job be in?

`JobSpec` is the request as tenants write it, with its bounds; `TRANSITIONS` is the one table of
the job's life, from which the diagram in the docs is drawn. It does not know how jobs are placed
or run.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import CONTROL, Label, Name
from penstock_contracts.ids import ENV_NAME, is_ulid

GPU_MILLI_WHOLE = 1000
RANKS_MAX = 8_192
GPUS_PER_RANK_MAX = 256
PLACES_MAX = 8_192
"""Ranks and their GPUs together: one grant names all of them in one fact of at most 1 MiB."""
CPU_MILLI_DEFAULT = 100
"""Reserved per rank when a job does not say: enough to bound how many start at once."""
JOBS_PER_REQUEST_MAX = 1_000
REQUEST_BYTES_MAX = 64 * 1024

Text = Annotated[str, Meta(max_length=256)]
Argument = Annotated[str, Meta(max_length=32_768)]
Milli = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Seconds = Annotated[int, Meta(ge=1, le=366 * 86_400)]


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job as requested. Only `job_id` and `command` are required.

    `job_id`: a ULID the requester chose, so that a repeat is the same job. `gpus` are per rank,
    `gpu_milli` per device (below 1000 only with one GPU: shared, best effort; its users share its
    memory and time, and nothing but their own manners keeps them apart). `cpu_milli` and
    `memory_mib` are per rank, reserved and not enforced; None = the default reserve. `priority`: 9
    goes first. `time_limit_s` counts from start; None = none. `retries`: further attempts after a
    failure or loss. `grace_s` lies between SIGTERM and SIGKILL. `disconnect_s`: how long the work
    may go on without contact to the mesh; None = as long as it takes, and no retry before
    evidence.
    """

    job_id: str
    command: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=1_024)]
    name: Text = ""
    env: dict[str, Argument] = {}
    ranks: Annotated[int, Meta(ge=1, le=RANKS_MAX)] = 1
    gpus: Annotated[int, Meta(ge=0, le=GPUS_PER_RANK_MAX)] = 0
    gpu_milli: Annotated[int, Meta(ge=1, le=GPU_MILLI_WHOLE)] = GPU_MILLI_WHOLE
    gpu_memory_mib: Milli | None = None
    gpu_models: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    cpu_milli: Milli | None = None
    memory_mib: Milli | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    time_limit_s: Seconds | None = None
    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    grace_s: Annotated[int, Meta(ge=0, le=86_400)] = 10
    disconnect_s: Seconds | None = None
    labels: dict[Text, Text] = {}

    def fault(self) -> tuple[str, str, str] | None:
        """(code, sentence, field) of the first rule broken that types cannot state; None when
        fine.
        """
        if not is_ulid(self.job_id):
            return (
                "invalid_job_id",
                "job_id must be a ULID: 26 characters of Crockford base 32",
                "job_id",
            )
        if not self.command[0]:
            return "invalid_field", "command must name a program", "command[0]"
        if self.ranks * (1 + self.gpus) > PLACES_MAX:
            sentence = f"ranks x (1 + gpus) must not be over {PLACES_MAX}"
            return "invalid_field", sentence, "ranks"
        if control := self._control_characters():
            return "invalid_field", f"{control} must not contain control characters", control
        if any("\0" in part for part in self.command):
            return "invalid_field", "command must not contain NUL characters", "command"
        for name, value in self.env.items():
            if not ENV_NAME.fullmatch(name) or "\0" in value:
                return "invalid_field", f"env name {name[:40]!r} or its value is not allowed", "env"
        if self.gpus != 1 and self.gpu_milli != GPU_MILLI_WHOLE:
            return "invalid_field", "gpu_milli below 1000 needs gpus = 1", "gpu_milli"
        return None

    def _control_characters(self) -> str:
        """The field that people read and that would steer their terminal; empty when none does."""
        if CONTROL.search(self.name):
            return "name"
        if self.gpu_models and any(map(CONTROL.search, self.gpu_models)):
            return "gpu_models"
        if self.labels and any(
            CONTROL.search(part) for item in self.labels.items() for part in item
        ):
            return "labels"
        return ""


class SubmitJobs(msgspec.Struct, frozen=True):
    """Many jobs in one message: `{"jobs": [...]}`. Each is accepted or refused by itself."""

    jobs: Annotated[tuple[msgspec.Raw, ...], Meta(max_length=JOBS_PER_REQUEST_MAX)]


class CancelJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks that a job end: a waiting one at once, a running one by SIGTERM, later SIGKILL."""

    job_id: Name
    reason: Label = ""


QUEUED = "queued"
PLACED = "placed"
PREPARING = "preparing"
RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
TIMED_OUT = "timed_out"
REJECTED = "rejected"

TERMINAL = frozenset({SUCCEEDED, FAILED, CANCELLED, TIMED_OUT, REJECTED})

TRANSITIONS: dict[str, frozenset[str]] = {
    "submitted": frozenset({QUEUED, REJECTED}),
    QUEUED: frozenset({PLACED, CANCELLED, REJECTED, FAILED}),
    PLACED: frozenset(
        {PREPARING, RUNNING, "preempted", "lost", FAILED, CANCELLED, TIMED_OUT, QUEUED}
    ),
    PREPARING: frozenset({RUNNING, "preempted", "lost", FAILED, CANCELLED, TIMED_OUT, QUEUED}),
    RUNNING: frozenset({SUCCEEDED, "preempted", "lost", FAILED, CANCELLED, TIMED_OUT, QUEUED}),
    "preempted": frozenset({QUEUED}),
    "lost": frozenset({QUEUED, FAILED, CANCELLED}),
    **{state: frozenset() for state in sorted(TERMINAL)},
}
"""The life of a job. `submitted`, `preempted` and `lost` pass at once; a job rests in the others.
"""

FACT_NAMES: tuple[str, ...] = (
    "submitted",
    "queued",
    "placed",
    "preparing",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "timed_out",
    "rejected",
    "preempted",
    "lost",
)
