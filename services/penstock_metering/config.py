"""Which settings does metering have?"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from penstock_runtime.config import CommonConfig

DATABASE_FILE = "ledger.sqlite"


class Config(CommonConfig, frozen=True, kw_only=True):
    """The common settings, and where the ledger is kept."""

    database: Annotated[
        str | None,
        Meta(
            description="sqlite:///FILE or postgresql://USER@HOST/NAME; "
            f"without it {DATABASE_FILE} in the data directory."
        ),
    ] = None

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data_dir / DATABASE_FILE}"
