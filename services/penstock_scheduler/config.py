"""Which settings does the scheduler have?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from penstock_contracts.policies import PolicyName
from penstock_runtime.standby_config import StandbyConfig


class Config(StandbyConfig, frozen=True, kw_only=True):
    """The common settings, how often the state is saved, and how places are chosen: the same on
    all instances."""

    snapshot_every: Annotated[
        int, Meta(description="Journal entries between two snapshots.", ge=100)
    ] = 20_000
    policy: Annotated[
        PolicyName, Meta(description="By which policy places for jobs are chosen.")
    ] = "penstock"
    workload: Annotated[
        Path | None,
        Meta(
            description="CSV file of the jobs to expect, in the columns of OpenB; unset = what is "
            "expected is learned from the jobs seen."
        ),
    ] = None
