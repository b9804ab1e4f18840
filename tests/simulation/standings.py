"""How do tenants want to stand in line?

Pools, deadlines, work that yields to others and how it saves what it has done, added to a job that
was drawn without. It does not know which policy holds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from penstock_contracts.jobs import JobSpec
from tests.simulation.workload import script_of

SPOT_SHARE = 0.15
POOLED_SHARE = 0.3
SAVING_SHARE = 0.3
DEADLINE_SHARE = 0.1
NO_POOL = "nowhere"
"""Of which no policy has heard."""


def draw_standing(
    rng: random.Random, spec: JobSpec, *, now_ms: int, pools: Sequence[str]
) -> JobSpec:
    """`pools`: those that there are, as far as the tenant knows."""
    changes: dict[str, object] = {}
    if not spec.tier and rng.random() < SPOT_SHARE:
        changes["tier"] = "spot"
    if rng.random() < POOLED_SHARE:
        changes["pool"] = rng.choice((*pools, *pools, *pools, NO_POOL))
    if rng.random() < DEADLINE_SHARE:
        changes["deadline_ms"] = now_ms + rng.choice((20, 120, 900)) * 1_000
    if rng.random() < 0.2:
        changes["checkpoint_s"] = rng.choice((5, 30, 120))
    script = script_of(spec.command)
    if script is not None and rng.random() < SAVING_SHARE:
        changes["checkpoint_signal"] = rng.choice(("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"))
        saving = msgspec.structs.replace(script, saves_s=rng.choice((0.1, 1.0, 5.0)))
        changes["command"] = saving.command()
    standing = msgspec.structs.replace(spec, **changes)
    return spec if standing.fault() is not None else standing


def alike(specs: list[JobSpec]) -> list[JobSpec]:
    """As many of the first one."""
    return [msgspec.structs.replace(specs[0], job_id=spec.job_id, name=spec.name) for spec in specs]
