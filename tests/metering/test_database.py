"""Is there one schema however a database came to be, and one code path for both kinds?"""

from __future__ import annotations

from functools import partial

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from metering.conftest import Ledger
from metering.test_ingest import a_busy_world, comparable
from penstock_contracts.errors import InvariantError
from penstock_contracts.queries import JobsQuery, UsageQuery
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database, UnsupportedDatabase, is_out


def test_the_migrations_make_exactly_the_schema(ledger: Ledger) -> None:
    with ledger.database.writing.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_migration_is_the_one_the_schema_names() -> None:
    config = Config()
    config.set_main_option("script_location", "penstock_metering:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


def test_sqlite_survives_a_loss_of_power(sqlite: Ledger) -> None:
    database = Database(sqlite.url)
    with database.writing.begin() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        }
    database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2 = FULL


def test_an_existing_database_is_opened_again(ledger: Ledger) -> None:
    ledger.take_all(a_busy_world())
    before = ledger.contents()
    ledger.reopen()
    assert ledger.contents() == before


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(UnsupportedDatabase):
        Database("mysql://localhost/penstock")


def test_both_kinds_hold_the_same_ledger(postgresql: Ledger, sqlite: Ledger) -> None:
    world = a_busy_world()
    sqlite.take_all(world)
    half = {name: messages[: len(messages) // 2] for name, messages in world.streams.items()}
    postgresql.take(half)
    postgresql.reopen()
    postgresql.take_all(world)
    assert comparable(postgresql) == comparable(sqlite)
    assert postgresql.library.jobs(JobsQuery()) == sqlite.library.jobs(JobsQuery())
    asked = UsageQuery(from_ms=0, to_ms=world.now_ms)
    assert postgresql.library.usage(asked) == sqlite.library.usage(asked)
    assert postgresql.balance(world) == sqlite.balance(world)
    assert postgresql.library.counts(10) == sqlite.library.counts(10)
    world.repeat_entry(1)
    world.store("USAGE", "penstock.v1.usage.n1", b"\x00rubbish")
    for either in (postgresql, sqlite):
        either.take_all(world)
    assert postgresql.library.findings() == sqlite.library.findings() != []


@pytest.mark.parametrize(
    ("kind", "out"),
    [
        (sa.exc.OperationalError, True),  # locked, full, away
        (sa.exc.InternalError, True),  # cut off by the server
        (sa.exc.DatabaseError, True),
        (sa.exc.IntegrityError, False),
        (sa.exc.ProgrammingError, False),
    ],
)
def test_only_faults_of_our_own_end_metering(kind: type[sa.exc.DBAPIError], out: bool) -> None:
    assert is_out(kind("statement", {}, Exception("why"))) is out


ODD_TEXTS = [
    "",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "a,b",
    "{}",
    "{a}",
    "'",
    "\n\t\r",
    "ü€𝄞",
    "%s",
    ":x",
    "\x7f",
]


def test_any_text_and_number_comes_back_as_it_went_in(ledger: Ledger) -> None:
    rows = [(n, text, 1 << 62, text * 3, text) for n, text in enumerate(ODD_TEXTS)]
    insert = ledger.database.insert(schema.quarantine)
    ledger.ingest.change(lambda connection: insert.run(connection, rows))
    assert ledger.contents()["quarantine"] == sorted(rows, key=repr)


def test_unknown_values_come_back_unknown(ledger: Ledger) -> None:
    lines = [
        (1, f"job-{n}", 0, 0, "", 1_000, 0, 1, 1, *measured)
        for n, measured in enumerate([(None, None), (5, None), (None, 0), (-1, 7)])
    ]
    insert = ledger.database.insert(schema.ledger_lines)
    ledger.ingest.change(lambda connection: insert.run(connection, lines))
    assert ledger.contents()["ledger_lines"] == lines


def test_an_upsert_of_one_key_twice_keeps_the_last_and_an_insert_of_what_is_new_the_first(
    ledger: Ledger,
) -> None:
    rows = [("USAGE", 1), ("JOBS", 2), ("USAGE", 3)]
    for statement, kept in (
        (ledger.database.upsert(schema.cursors, ["seq"]), 3),
        (ledger.database.insert_absent(schema.cursors), 1),
    ):
        ledger.ingest.change(lambda connection: connection.execute(sa.delete(schema.cursors)))
        ledger.ingest.change(partial(statement.run, rows=rows))
        assert ledger.contents()["cursors"] == [("JOBS", 2), ("USAGE", kept)]


def test_rows_are_found_by_their_keys_however_many_are_asked_for(ledger: Ledger) -> None:
    rows = [(n, f"node-{n}", "boot", n, n) for n in range(1_200)]
    insert = ledger.database.insert(schema.usage_batches)
    lookup = ledger.database.lookup(schema.usage_batches, "node")
    asked = [(n,) for n in range(1_100, 1_300)]
    ledger.ingest.change(lambda connection: insert.run(connection, rows))
    found = ledger.ingest.change(
        lambda connection: sorted(map(tuple, lookup.find(connection, asked)))
    )
    assert found == [(n, f"node-{n}") for n in range(1_100, 1_200)]
    every = [(n,) for n in range(1_200)]
    assert ledger.ingest.change(lambda c: len(list(lookup.find(c, every)))) == 1_200


def test_a_text_that_postgresql_cannot_hold_is_refused_whole(postgresql: Ledger) -> None:
    insert = postgresql.database.insert(schema.nodes)
    with pytest.raises(InvariantError, match="NUL"):
        postgresql.ingest.change(partial(insert.run, rows=[("a", "x"), ("b\0c", "y")]))
    assert postgresql.contents()["nodes"] == []
