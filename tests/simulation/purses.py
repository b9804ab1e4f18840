"""For which purse do tenants work, and at what price?

Projects and tiers, added to a job that was drawn without; whoever pays in advance nearly always
says how long he may be out of sight, as he must. It does not know what anybody has.
"""

from __future__ import annotations

import random

import msgspec

from penstock_contracts.jobs import JobSpec

PROJECTS = ("red", "green")
FORGETFUL_SHARE = 0.05
"""Of those who pay in advance."""


def draw_purse(rng: random.Random, spec: JobSpec, *, prepaid: bool) -> JobSpec:
    project = rng.choice(("", *PROJECTS))
    tier = rng.choice(("", "", "on_demand", "spot", "reserved"))
    alone_s = spec.disconnect_s
    if prepaid and alone_s is None and rng.random() >= FORGETFUL_SHARE:
        alone_s = rng.choice((30, 90, 600))
    return msgspec.structs.replace(spec, project=project, tier=tier, disconnect_s=alone_s)
