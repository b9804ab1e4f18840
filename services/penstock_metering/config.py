"""Which settings does metering have?"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from penstock_runtime.config import CommonConfig

DATABASE_FILE = "ledger.sqlite"
RAW_KEPT_DAYS = 90


class Config(CommonConfig, frozen=True, kw_only=True):
    """The common settings, and where the ledger is kept."""

    database: Annotated[
        str | None,
        Meta(
            description="sqlite:///FILE or postgresql://USER@HOST/NAME; "
            f"without it {DATABASE_FILE} in the data directory."
        ),
    ] = None

    usage_events: Annotated[
        bool,
        Meta(
            description="Publish an event for each segment of use on penstock.v1.metered.*.usage, "
            "for another system to bill."
        ),
    ] = False

    raw_kept_days: Annotated[
        int,
        Meta(
            ge=1,
            description="For how long the segments of a closed month are kept as agents sent them.",
        ),
    ] = RAW_KEPT_DAYS

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data_dir / DATABASE_FILE}"
