"""What do tenants want around their programs?

Containers, added to jobs that were drawn without. It does not know which hosts have them.
"""

from __future__ import annotations

import random

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_contracts.work import Container
from tests.simulation.workload import IMAGES, UNKNOWN_IMAGE, script_of

CONTAINED_SHARE = 0.15
UNKNOWN_SHARE = 0.05
OUT_OF_MEMORY_SHARE = 0.08


def draw_surroundings(rng: random.Random, spec: JobSpec) -> JobSpec:
    """The job with more around it than a directory."""
    if rng.random() >= CONTAINED_SHARE:
        return spec
    unknown = rng.random() < UNKNOWN_SHARE
    container = Container(
        image=UNKNOWN_IMAGE if unknown else rng.choice(IMAGES),
        pull=rng.choice(("missing",) * 8 + ("always", "always", "never")),
    )
    contained = msgspec.structs.replace(spec, container=container)
    script = script_of(spec.command)
    if script is not None and rng.random() < OUT_OF_MEMORY_SHARE:
        command = msgspec.structs.replace(script, out_of_memory=True).command()
        contained = msgspec.structs.replace(contained, command=command)
    return contained if contained.fault() is None else spec
