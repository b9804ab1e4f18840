"""What does a test of metering start from?"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import currently_in_test_context
from hypothesis.control import cleanup

from metering.postgresql import Server, postgresql_server, postgresql_url
from metering.quick import QuickDatabase
from metering.world import World
from penstock_bus.port import StoredMessage
from penstock_metering.core.conservation import Balance
from penstock_metering.devices import device_time
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import open_ledger
from penstock_metering.rating.rater import rate_all
from penstock_metering.reading import Library

__all__ = ["postgresql_server", "postgresql_url"]


class Ledger:
    """A real database with the writer and the reader on it."""

    def __init__(self, directory: Path, url: str = "") -> None:
        self.url = url or f"sqlite:///{directory / 'ledger.sqlite'}"
        self._open()

    def _open(self) -> None:
        self.database = QuickDatabase(self.url)
        self.library = Library(self.database)
        self.ingest = open_ledger(self.database, Writer(name="test"))

    def reopen(self) -> None:
        """As after a kill: nothing in memory survives."""
        self.database.close()
        self._open()

    def take(self, streams: Mapping[str, Sequence[StoredMessage]]) -> None:
        """Stored, and what follows from it derived."""
        self.ingest.commit(streams)
        self.ingest.change(rate_all)
        self.ingest.change(device_time.derive_all)

    def take_all(self, world: World) -> None:
        self.take(world.streams)

    def balance(self, world: World, silent: Sequence[str] = ()) -> Balance:
        """The conservation check at this moment; every node but the silent ones has answered."""
        answered = frozenset(world.agents) - set(silent)
        return self.library.balance(answered, len(world.streams["JOBS"]), world.now_ms)

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


class LedgerFactory:
    """Makes empty ledgers of one kind. What a test, or an example of a property, has made is taken
    back at its end."""

    def __init__(self, make: Callable[[], Ledger], clear: Callable[[Ledger], object]) -> None:
        self._make = make
        self._clear = clear
        self._made: list[Ledger] = []

    def __call__(self) -> Ledger:
        ledger = self._make()
        self._made.append(ledger)
        if currently_in_test_context():
            cleanup(partial(self.take_back, ledger))
        return ledger

    def take_back(self, ledger: Ledger) -> None:
        self._made.remove(ledger)
        ledger.database.close()
        self._clear(ledger)

    def take_all_back(self) -> None:
        for ledger in [*self._made]:
            self.take_back(ledger)


@pytest.fixture(scope="session")
def blank_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database that has been migrated: a copy of it is had sooner."""
    file = tmp_path_factory.mktemp("blank") / "ledger.sqlite"
    database = Database(f"sqlite:///{file}")
    database.open()
    database.close()
    return file


@pytest.fixture
def make_on_sqlite(
    blank_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LedgerFactory]:
    def make() -> Ledger:
        directory = tmp_path_factory.mktemp("ledger")
        shutil.copy(blank_file, directory)
        return Ledger(directory)

    factory = LedgerFactory(make, lambda ledger: None)
    yield factory
    factory.take_all_back()


@pytest.fixture
def make_on_postgresql(
    postgresql_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LedgerFactory]:
    def make() -> Ledger:
        url = postgresql_server.lend_ledger()
        return Ledger(tmp_path_factory.mktemp("ledger"), url)

    factory = LedgerFactory(make, lambda ledger: postgresql_server.take_ledger_back(ledger.url))
    yield factory
    factory.take_all_back()


@pytest.fixture(params=["sqlite", "postgresql"])
def make_ledger(request: pytest.FixtureRequest) -> LedgerFactory:
    """Makes empty ledgers; the test runs on both kinds of database."""
    made: LedgerFactory = request.getfixturevalue(f"make_on_{request.param}")
    return made


@pytest.fixture
def ledger(make_ledger: LedgerFactory) -> Ledger:
    """On either kind of database."""
    return make_ledger()


@pytest.fixture
def sqlite(make_on_sqlite: LedgerFactory) -> Ledger:
    return make_on_sqlite()


@pytest.fixture
def postgresql(make_on_postgresql: LedgerFactory) -> Ledger:
    return make_on_postgresql()


@pytest.fixture
def world() -> World:
    return World()
