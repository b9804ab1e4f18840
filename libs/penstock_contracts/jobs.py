"""What may a requester ask for, and which states can a job be in?

`JobSpec` is the request as tenants write it, with its bounds; `TRANSITIONS` is the one table of
the job's life, from which the diagram in the docs is drawn. It does not know how jobs are placed
or run.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.asks import GPU_MILLI_WHOLE as GPU_MILLI_WHOLE
from penstock_contracts.asks import (
    Alternative,
    Argument,
    Fault,
    GpuMilli,
    Gpus,
    Milli,
    Models,
    Near,
    Spread,
    Text,
    asks_fault,
)
from penstock_contracts.bounds import CONTROL, NODE_LABELS_MAX, Instant, Label, Name
from penstock_contracts.ids import ENV_NAME, is_ulid
from penstock_contracts.prices import Tier
from penstock_contracts.work import (
    Container,
    Inputs,
    Outputs,
    Pids,
    Rlimits,
    Secrets,
    work_fault,
)

RANKS_MAX = 8_192
ALTERNATIVES_MAX = 8
PLACES_MAX = 8_192
"""Ranks and their GPUs together: one grant names all of them in one fact of at most 1 MiB."""
CPU_MILLI_DEFAULT = 100
"""Reserved per rank when a job does not say: enough to bound how many start at once."""
JOBS_PER_REQUEST_MAX = 1_000
REQUEST_BYTES_MAX = 64 * 1024
SECONDS_MAX = 366 * 86_400

Seconds = Annotated[int, Meta(ge=1, le=SECONDS_MAX)]
Project = Annotated[str, Meta(max_length=63, pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]*)?$(?!\n)")]
"""A token, or empty."""
PoolName = Annotated[str, Meta(max_length=63, pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*)?$(?!\n)")]
CheckpointSignal = Literal["", "SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"]


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job as requested. Only `job_id` and `command` are required.

    `job_id`: a ULID the requester chose, so that a repeat is the same job. `gpus` are per rank,
    `gpu_milli` per device (below 1000 only with one GPU: shared, best effort; its users share its
    memory and time, and nothing but their own manners keeps them apart; `gpu_enforced`: only where
    the node holds each to its part). `cpu_milli` and `memory_mib` are per rank, reserved; None =
    the default reserve; a `memory_mib` that is given is a limit where the node offers that.
    `priority`: 9 goes first. `time_limit_s` counts from start; None = none. `retries`: further
    attempts after a failure or loss; up to three that meet a failing device do not count. `grace_s`
    lies between SIGTERM and SIGKILL. `disconnect_s`: how long the work may go on without contact to
    the mesh; None = as long as it takes, and no retry before evidence.

    Where it may run: `alternatives` are further choices after `gpus` and `gpu_models`, best first;
    the first that fits now is taken. `near`: all devices of all ranks in one domain of that level,
    or the next wider one that has room; with `near_required` in no wider one. `spread`: at most
    `spread_ranks` ranks in one domain of that level, always. `node_labels`: the node has all of
    these. `apart`: jobs of this tenant with the same word never share a node. A node's rack and
    site are its labels `rack` and `site`; one without is in none that is known.

    Around the command: `container` (its image may name the command), `user` of the host to run as,
    `rlimits` in their own units (bytes or counts), `pids_max` processes and threads, a
    `private_tmp`, `inputs`, `outputs` and `secrets`.

    Who pays: the tenant, for `project` where it names one of its own; at the price of its `tier`,
    "" = `on_demand`. Work of tier `spot` is ended first where a budget says so, and yields first.

    In line: in `pool`, "" = the one called `default`, else the first. By `deadline_ms` it should
    have ended: it goes first as that comes near. Where it has to yield, `checkpoint_signal` is sent
    instead of SIGTERM; it may save its work until `grace_s` are over, and is run again.
    `checkpoint_s`: at the latest so often it saves its work by itself; "" and None = what it has
    done is lost when it yields.
    """

    job_id: str
    command: Annotated[tuple[Argument, ...], Meta(max_length=1_024)]
    name: Text = ""
    env: dict[str, Argument] = {}
    ranks: Annotated[int, Meta(ge=1, le=RANKS_MAX)] = 1
    gpus: Gpus = 0
    gpu_milli: GpuMilli = GPU_MILLI_WHOLE
    gpu_memory_mib: Milli | None = None
    gpu_models: Models = ()
    cpu_milli: Milli | None = None
    memory_mib: Milli | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    time_limit_s: Seconds | None = None
    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    grace_s: Annotated[int, Meta(ge=0, le=86_400)] = 10
    disconnect_s: Seconds | None = None
    labels: dict[Text, Text] = {}
    alternatives: Annotated[tuple[Alternative, ...], Meta(max_length=ALTERNATIVES_MAX)] = ()
    near: Near = ""
    near_required: bool = False
    spread: Spread = ""
    spread_ranks: Annotated[int, Meta(ge=1, le=RANKS_MAX)] = 1
    node_labels: Annotated[dict[Text, Text], Meta(max_length=NODE_LABELS_MAX)] = {}
    apart: Text = ""
    container: Container | None = None
    user: Text = ""
    rlimits: Rlimits = {}
    pids_max: Pids | None = None
    private_tmp: bool = False
    inputs: Inputs = ()
    outputs: Outputs = ()
    secrets: Secrets = ()
    gpu_enforced: bool = False
    project: Project = ""
    tier: Tier = ""
    pool: PoolName = ""
    deadline_ms: Instant | None = None
    checkpoint_signal: CheckpointSignal = ""
    checkpoint_s: Seconds | None = None

    def resolved(self, alternative: int) -> JobSpec:
        """What runs when that alternative is taken (0 = the spec's own): no choice is left, a
        slower one gets more time, and the job is told which it is. Without alternatives, itself.
        """
        if not self.alternatives:
            return self
        taken = self.alternatives[alternative - 1] if alternative else None
        speed_milli = taken.speed_milli if taken else 1000
        told = {"PENSTOCK_ALTERNATIVE": str(alternative), "PENSTOCK_SPEED_MILLI": str(speed_milli)}
        spec = msgspec.structs.replace(self, alternatives=(), env={**self.env, **told})
        if taken is None:
            return spec
        return msgspec.structs.replace(
            spec,
            gpus=taken.gpus,
            gpu_models=taken.gpu_models,
            gpu_milli=taken.gpu_milli,
            gpu_memory_mib=taken.gpu_memory_mib,
            cpu_milli=self.cpu_milli if taken.cpu_milli is None else taken.cpu_milli,
            memory_mib=self.memory_mib if taken.memory_mib is None else taken.memory_mib,
            time_limit_s=_scaled(self.time_limit_s, speed_milli),
        )

    def fault(self) -> Fault | None:
        """(code, sentence, field) of the first rule broken that types cannot state; None when
        fine.
        """
        if not is_ulid(self.job_id):
            return (
                "invalid_job_id",
                "job_id must be a ULID: 26 characters of Crockford base 32",
                "job_id",
            )
        gpus = max([self.gpus, *(one.gpus for one in self.alternatives)])
        if self.ranks * (1 + gpus) > PLACES_MAX:
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
        return asks_fault(self) or work_fault(self)

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


def _scaled(time_limit_s: int | None, speed_milli: int) -> int | None:
    """The time for the same work at another speed, in whole seconds."""
    if time_limit_s is None:
        return None
    return min(SECONDS_MAX, -(-time_limit_s * 1000 // speed_milli))


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
