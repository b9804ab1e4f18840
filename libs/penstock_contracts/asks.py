"""Where may a job run, beyond how much it needs?

Alternatives to what a job prefers, nearness of its ranks, spread, labels of nodes and jobs it keeps
apart from; and which of these contradict each other. It does not know how a place is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import CONTROL

if TYPE_CHECKING:
    from penstock_contracts.jobs import JobSpec

GPUS_PER_RANK_MAX = 256
GPU_MILLI_WHOLE = 1000
SPEED_MILLI_MAX = 1_000_000

LINK = "link"
NODE = "node"
RACK = "rack"
SITE = "site"
LEVELS = (LINK, NODE, RACK, SITE)
"""From the narrowest outward."""

Text = Annotated[str, Meta(max_length=256)]
Argument = Annotated[str, Meta(max_length=32_768)]
Milli = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Gpus = Annotated[int, Meta(ge=0, le=GPUS_PER_RANK_MAX)]
GpuMilli = Annotated[int, Meta(ge=1, le=1000)]
Models = Annotated[tuple[Text, ...], Meta(max_length=64)]
Near = Literal["", "link", "node", "rack", "site"]
Spread = Literal["", "node", "rack", "site"]
Fault = tuple[str, str, str]
"""(code, sentence, field)."""


class Alternative(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another choice of GPUs for each rank. `cpu_milli`, `memory_mib`: None = as the job itself.

    `speed_milli`: how fast it does the work, in thousandths of the job's own choice; at 500 the
    time limit is twice as long.
    """

    gpus: Annotated[int, Meta(ge=1, le=GPUS_PER_RANK_MAX)]
    gpu_models: Models = ()
    gpu_milli: GpuMilli = 1000
    gpu_memory_mib: Milli | None = None
    cpu_milli: Milli | None = None
    memory_mib: Milli | None = None
    speed_milli: Annotated[int, Meta(ge=1, le=SPEED_MILLI_MAX)] = 1000


def asks_fault(job: JobSpec) -> Fault | None:
    """The first contradiction in where a job may run; None when there is none."""
    if job.alternatives and (found := _alternatives_fault(job)):
        return found
    if job.near:
        if found := _near_fault(job):
            return found
    elif job.near_required:
        return "contradiction", "near_required needs near: link, node, rack or site", "near"
    if not job.spread and job.spread_ranks != 1:
        return "contradiction", "spread_ranks needs spread: node, rack or site", "spread"
    if job.node_labels and any(
        CONTROL.search(part) for item in job.node_labels.items() for part in item
    ):
        sentence = "node_labels must not contain control characters"
        return "invalid_field", sentence, "node_labels"
    if job.apart and CONTROL.search(job.apart):
        return "invalid_field", "apart must not contain control characters", "apart"
    return None


def _alternatives_fault(job: JobSpec) -> Fault | None:
    if not job.gpus:
        sentence = "alternatives are other GPUs than the job's own: set gpus to what it prefers"
        return "contradiction", sentence, "gpus"
    seen = {_sizes(job, job)}
    for index, one in enumerate(job.alternatives):
        field = f"alternatives[{index}]"
        if one.gpus != 1 and one.gpu_milli != 1000:
            sentence = f"{field}.gpu_milli below 1000 needs gpus = 1"
            return "invalid_field", sentence, f"{field}.gpu_milli"
        if any(map(CONTROL.search, one.gpu_models)):
            sentence = f"{field}.gpu_models must not contain control characters"
            return "invalid_field", sentence, f"{field}.gpu_models"
        sizes = _sizes(one, job)
        if sizes in seen:
            sentence = f"{field} asks for the same as a choice before it; leave it out"
            return "contradiction", sentence, field
        seen.add(sizes)
    return None


def _sizes(one: Alternative | JobSpec, job: JobSpec) -> tuple[object, ...]:
    return (
        one.gpus,
        frozenset(one.gpu_models),
        one.gpu_milli,
        one.gpu_memory_mib,
        job.cpu_milli if one.cpu_milli is None else one.cpu_milli,
        job.memory_mib if one.memory_mib is None else one.memory_mib,
    )


def _near_fault(job: JobSpec) -> Fault | None:
    if job.near == LINK and not job.gpus:
        return "contradiction", "near = link is about GPUs: set gpus, or near = node", "near"
    if not job.spread or job.ranks <= job.spread_ranks:
        return None
    inside = SITE if job.near == SITE else RACK if job.near in (LINK, RACK) else NODE
    if LEVELS.index(job.spread) < LEVELS.index(inside):
        return None
    sentence = (
        f"near = {job.near} keeps {job.ranks} ranks in one {job.spread}, spread = {job.spread} "
        f"allows {job.spread_ranks} in each; leave one out or choose a wider near"
    )
    return "contradiction", sentence, "spread"
