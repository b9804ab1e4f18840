"""Which settings does a service have that may run several times, one active and others standing by?

How soon a silent active instance is replaced. It does not know the lock.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from penstock_runtime.config import CommonConfig
from penstock_runtime.pace import Pace

REFRESHES = 3
"""So many refreshes fit into the silence after which a standby takes over."""


class StandbyConfig(CommonConfig, frozen=True, kw_only=True):
    """The common settings, and the patience of standbys: the same on all instances."""

    takeover_after_ms: Annotated[
        int,
        Meta(
            description="Silence of the active instance after which a standby takes over.",
            ge=600,
            le=60_000,
        ),
    ] = 1_500

    def pace(self) -> Pace:
        """The intervals that follow from it."""
        silence_s = self.takeover_after_ms / 1000
        return Pace(refresh_s=silence_s / REFRESHES, silence_s=silence_s)
