"""What does the mesh tell those outside about use, so that another system can bill it?

One CloudEvent (binary mode: attributes in headers, this as data) for each segment that the ledger
has taken, on `metered.<tenant>.usage`. Its id is derived from what it speaks of, so a repeat is
recognised for ever. It does not know prices.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.ids import ROOT

EVENT_TYPE = "penstock.usage.metered"
EVENT_SOURCE = "penstock/metering"


class MeteredDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """`used_milli_ms`: the integral of its utilisation, in milli-GPU·ms; `energy_mj`: what it drew.
    None = not measured."""

    uuid: str
    model: str = ""
    used_milli_ms: int | None = None
    energy_mj: int | None = None


class MeteredUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Running time `[t0_ms, t1_ms)` of one rank, as its host measured it. `gpu_milli` of each
    device; `cpu_milli` where there are none. Segment `seq` of a rank's lease begins where the one
    before ended. (`batch`, `index`) is its place in the order in which the ledger took segments:
    unique and ascending.
    """

    id: str
    batch: int
    index: int
    tenant: str
    project: str = ""
    tier: str = ""
    job_id: str
    attempt: int
    lease_seq: int
    rank: int
    seq: int
    node: str
    site: str = ""
    t0_ms: int
    t1_ms: int
    devices: tuple[MeteredDevice, ...] = ()
    gpu_milli: int = 0
    cpu_milli: int = 0
    gpu_milli_ms: int = 0
    cpu_milli_ms: int = 0


def subject_of(tenant: str) -> str:
    return f"{ROOT}.metered.{tenant}.usage"
