"""How many orders may a node hold?

All that a node should hold goes out in one message when something was lost, and a broker takes only
so much; so the room for orders is a resource like memory. Sizes are rounded up, or jobs that differ
by a few letters would not be alike. It does not know how orders look.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import JobSpec

UNIT_BYTES = 256
NODE_UNITS = 3_200
"""800 KiB: of small jobs 1,600 at once, of the largest 12."""
ORDER_BYTES = 320
"""An order without what its job brings: command, environment, name, devices."""
DEVICE_BYTES = 48
FIELD_BYTES = 16
"""The name of one that most orders have not."""
STEPS_BITS = 3
"""A size is rounded up to one of four steps between two powers of two."""

_encode = msgspec.json.Encoder().encode


def order_units(spec: JobSpec) -> int:
    """The room that one rank's order takes."""
    size = len(_encode((spec.command, spec.env, spec.name)))
    size += ORDER_BYTES + DEVICE_BYTES * spec.gpus
    if spec.container or spec.inputs or spec.outputs or spec.secrets:
        around = (spec.container, spec.inputs, spec.outputs, spec.secrets)
        size += len(_encode(around)) + FIELD_BYTES * len(around)
    units = -(-size // UNIT_BYTES)
    step = 1 << max(0, units.bit_length() - STEPS_BITS)
    return -(-units // step) * step
