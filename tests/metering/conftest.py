"""What does a test of metering start from?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from metering.postgresql import postgresql_url
from metering.world import World
from penstock_bus.port import StoredMessage
from penstock_metering import schema
from penstock_metering.core.conservation import Balance, balance
from penstock_metering.database import Database
from penstock_metering.fence import Writer
from penstock_metering.ingest import open_ledger
from penstock_metering.reading import Library

__all__ = ["postgresql_url"]


class Ledger:
    """A real database file with the writer and the reader on it."""

    def __init__(self, directory: Path, url: str = "") -> None:
        self.url = url or f"sqlite:///{directory / 'ledger.sqlite'}"
        self._open()

    def _open(self) -> None:
        self.database = Database(self.url)
        self.library = Library(self.database)
        self.ingest = open_ledger(self.database, Writer(name="test"))

    def reopen(self) -> None:
        """As after a kill: nothing in memory survives."""
        self.database.close()
        self._open()

    def take(self, streams: Mapping[str, Sequence[StoredMessage]]) -> None:
        self.ingest.commit(streams)

    def take_all(self, world: World) -> None:
        self.take(world.streams)

    def balance(self, world: World, silent: Sequence[str] = ()) -> Balance:
        """The conservation check at this moment; every node but the silent ones has answered."""
        answered = frozenset(world.agents) - set(silent)
        return balance(self.library.books(answered, len(world.streams["JOBS"]), world.now_ms))

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that stands in the database but who writes it, table by table."""
        with self.database.reading.begin() as connection:
            return {
                table.name: sorted(
                    (tuple(row) for row in connection.execute(sa.select(table))), key=repr
                )
                for table in schema.metadata.sorted_tables
                if table is not schema.ledger_writer
            }


LedgerFactory = Callable[[], Ledger]


@pytest.fixture
def make_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerFactory]:
    made: list[Ledger] = []

    def make() -> Ledger:
        made.append(Ledger(tmp_path_factory.mktemp("ledger")))
        return made[-1]

    yield make
    for ledger in made:
        ledger.database.close()


@pytest.fixture
def ledger(make_ledger: LedgerFactory) -> Ledger:
    return make_ledger()


@pytest.fixture
def postgresql(postgresql_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger in PostgreSQL."""
    engine = sa.create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    made = Ledger(tmp_path, postgresql_url)
    yield made
    made.database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_ledger(request: pytest.FixtureRequest) -> Ledger:
    """The test runs on both kinds of database."""
    made: Ledger = request.getfixturevalue("ledger" if request.param == "sqlite" else request.param)
    return made


@pytest.fixture
def world() -> World:
    return World()
