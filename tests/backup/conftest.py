"""Tests of backups use metering's ledgers."""

from metering.conftest import (
    blank_file,
    ledger,
    make_ledger,
    make_on_postgresql,
    make_on_sqlite,
    postgresql,
    postgresql_server,
    postgresql_url,
    sqlite,
)

__all__ = [
    "blank_file",
    "ledger",
    "make_ledger",
    "make_on_postgresql",
    "make_on_sqlite",
    "postgresql",
    "postgresql_server",
    "postgresql_url",
    "sqlite",
]
