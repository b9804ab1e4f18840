"""Which settings does inventory have?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from penstock_runtime.standby_config import StandbyConfig

AFTER_MS_MAX = 3_600_000


class Config(StandbyConfig, frozen=True, kw_only=True):
    """The common settings, how patient inventory is, and how often the state is saved."""

    suspect_after_ms: Annotated[
        int,
        Meta(description="Silence after which a node gets no work.", ge=1_500, le=AFTER_MS_MAX),
    ] = 3_000
    lost_after_ms: Annotated[
        int, Meta(description="Silence after which a node is lost.", ge=2_000, le=AFTER_MS_MAX)
    ] = 10_000
    snapshot_every: Annotated[
        int, Meta(description="Journal entries between two snapshots.", ge=100)
    ] = 20_000
    authority: Annotated[
        Path | None,
        Meta(description="Directory with the keys that let hosts in; unset = no host can join."),
    ] = None
