"""What do tenants ask for beyond how much they need?

Models, memory of a share, alternatives, nearness, spread, labels and jobs to keep apart from, added
to a job that was drawn without. Most can be met; a few never can. It does not know the fleet, but
how its labels and models are called.
"""

from __future__ import annotations

import random

import msgspec

from penstock_contracts.asks import LEVELS, NODE, RACK, SITE, Alternative
from penstock_contracts.jobs import JobSpec
from tests.simulation.terrain import DISKS, MODELS, RACKS, SITES, UNKNOWN_MODEL
from tests.simulation.workload import script_of

PICKY_RUN_S_MAX = 60.0
"""Many who demand the same few places come to an end one after the other."""
PICKY_RETRIES_MAX = 1
MEMORY_MIB = (1_000, 2_000, 5_000, 10_000, 40_000)
SPEEDS_MILLI = (250, 500, 800, 1000, 2000)


def draw_wishes(rng: random.Random, spec: JobSpec, *, gpus_max: int) -> JobSpec:
    """The job with wishes and demands; as it was when these contradict each other."""
    changes: dict[str, object] = {}
    if spec.gpus and rng.random() < 0.12:
        changes["gpu_models"] = tuple(rng.sample(MODELS, rng.choice((1, 2))))
    if spec.gpus == 1 and spec.ranks > 1 and rng.random() < 0.4:
        changes["gpu_milli"] = rng.choice((200, 400, 500, 700))
    if spec.gpus and rng.random() < (0.3 if spec.gpu_milli < 1000 else 0.05):
        changes["gpu_memory_mib"] = rng.choice(MEMORY_MIB)
    if spec.ranks * spec.gpus > 1 or spec.ranks > 1:
        changes |= _draw_places(rng)
    if rng.random() < 0.08:
        changes["node_labels"] = _draw_labels(rng)
    if rng.random() < 0.08:
        changes["apart"] = rng.choice(("a", "b"))
    if spec.gpus and rng.random() < 0.2:
        changes |= _draw_alternatives(rng, gpus_max)
    wished = msgspec.structs.replace(spec, **changes)
    if wished.fault() is not None:
        return spec
    if changes.keys() & {"near_required", "spread", "node_labels", "apart"}:
        wished = msgspec.structs.replace(wished, retries=min(spec.retries, PICKY_RETRIES_MAX))
    return _told_to_program(wished)


def _draw_places(rng: random.Random) -> dict[str, object]:
    changes: dict[str, object] = {}
    if rng.random() < 0.5:
        changes["near"] = rng.choice(LEVELS)
        if rng.random() < 0.6:
            changes["near_required"] = True
    if rng.random() < 0.3:
        changes |= {"spread": rng.choice((NODE, NODE, RACK, SITE)), "spread_ranks": _few(rng)}
    return changes


def _few(rng: random.Random) -> int:
    return rng.choice((1, 1, 2, 3))


def _draw_labels(rng: random.Random) -> dict[str, str]:
    kind = rng.random()
    if kind < 0.5:
        return {"disk": rng.choice(DISKS)}
    if kind < 0.9:
        return {"site": rng.choice(SITES), "rack": rng.choice(RACKS)}
    return {"disk": "none has this"}


def _draw_alternatives(rng: random.Random, gpus_max: int) -> dict[str, object]:
    first, *others = rng.sample((*MODELS, UNKNOWN_MODEL), 3)
    return {
        "gpu_models": (first,),
        "gpu_memory_mib": None,
        "alternatives": tuple(_draw_alternative(rng, model, gpus_max) for model in others),
    }


def _draw_alternative(rng: random.Random, model: str, gpus_max: int) -> Alternative:
    gpus = rng.choice([n for n in (1, 1, 2, 4) if n <= gpus_max])
    return Alternative(
        gpus=gpus,
        gpu_models=(model,),
        gpu_milli=rng.choice((1000, 300, 600)) if gpus == 1 else 1000,
        cpu_milli=rng.choice((None, 700, 2000)),
        memory_mib=rng.choice((None, 3_000)),
        speed_milli=rng.choice(SPEEDS_MILLI),
    )


def _told_to_program(spec: JobSpec) -> JobSpec:
    """The program uses as much of its devices as was asked for, and is done soon when many may wait
    for the same places."""
    script = script_of(spec.command)
    if script is None:
        return spec
    picky = spec.near_required or spec.spread or spec.node_labels or spec.apart
    told = msgspec.structs.replace(
        script,
        run_s=min(script.run_s, PICKY_RUN_S_MAX) if picky else script.run_s,
        gpu_milli=spec.gpu_milli,
        alternatives_milli=tuple(one.gpu_milli for one in spec.alternatives),
    )
    return msgspec.structs.replace(spec, command=told.command())
