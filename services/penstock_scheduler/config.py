"""Which settings does the scheduler have?"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from penstock_runtime.standby_config import StandbyConfig


class Config(StandbyConfig, frozen=True, kw_only=True):
    """The common settings, and how often the state is saved."""

    snapshot_every: Annotated[
        int, Meta(description="Journal entries between two snapshots.", ge=100)
    ] = 20_000
