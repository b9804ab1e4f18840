"""How is it said what will be asked for?

A fact of the JOBS journal: shapes with counts, and what follows from them for the choice of places.
It does not know how it is learned.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import Number


class ExpectedShape(msgspec.Struct, frozen=True, array_like=True):
    """What one rank asks of a node, and how often it is asked in any unit. `gpu_milli` per device;
    `gpu_memory_mib` that each device must have in all."""

    cpu_milli: Number
    gpus: Number
    gpu_milli: Number
    gpu_memory_mib: Number
    models: tuple[str, ...]
    count: Number


class WorkloadExpected(
    msgspec.Struct, frozen=True, tag="workload_expected", tag_field="fact", omit_defaults=True
):
    """What the scheduler expects to be asked for: from this entry on, places are chosen with that
    in mind. `hole_values`: the worth of 0, 1, ... 1000 free thousandths of a device, in millionths;
    `prices`: how scarce each model is, in thousandths, in a fleet of these `devices` by model;
    `given` by an operator, not learned."""

    shapes: tuple[ExpectedShape, ...]
    hole_values: tuple[Number, ...]
    prices: dict[str, Number]
    cpu_milli_per_gpu: Number
    devices: dict[str, Number] = {}
    given: bool = False
