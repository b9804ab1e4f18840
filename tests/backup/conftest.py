"""Tests of backups use metering's ledgers."""

from metering.conftest import ledger, make_ledger, postgresql
from metering.postgresql import postgresql_url

__all__ = ["ledger", "make_ledger", "postgresql", "postgresql_url"]
