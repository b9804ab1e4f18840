"""Is there one schema however a database came to be, and one code path for both kinds?"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from metering.conftest import Ledger, LedgerFactory
from metering.test_ingest import a_busy_world, comparable
from penstock_contracts.queries import JobsQuery, UsageQuery
from penstock_metering import schema
from penstock_metering.database import Database, UnsupportedDatabase


def test_the_migrations_make_exactly_the_schema(ledger: Ledger) -> None:
    with ledger.database.writing.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_migration_is_the_one_the_schema_names() -> None:
    config = Config()
    config.set_main_option("script_location", "penstock_metering:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


def test_sqlite_survives_a_loss_of_power(ledger: Ledger) -> None:
    with ledger.database.writing.begin() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2 = FULL


def test_an_existing_database_is_opened_again(ledger: Ledger) -> None:
    ledger.take_all(a_busy_world())
    before = ledger.contents()
    ledger.reopen()
    assert ledger.contents() == before


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(UnsupportedDatabase):
        Database("mysql://localhost/penstock")


def find_program(name: str) -> str | None:
    found = shutil.which(name)
    if found:
        return str(Path(found).resolve())
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(candidates[-1]) if candidates else None


def unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.getuid() == 0 else None


@pytest.fixture(scope="module")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    programs = {name: find_program(name) for name in ("initdb", "postgres")}
    if None in programs.values():
        pytest.skip("no PostgreSQL server on this machine: this path is not tested here")
    directory = Path("/tmp") / f"penstock-pg-{os.getpid()}"
    directory.mkdir(mode=0o700)
    user = unprivileged_user()
    if user:
        shutil.chown(directory, user)
    options = {"user": user, "cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data = directory / "data"
    init = [str(programs["initdb"]), "-D", str(data), "-U", "penstock", "-A", "trust", "-N"]
    subprocess.run(init, check=True, **options)  # type: ignore[call-overload]
    serve = [
        *(str(programs["postgres"]), "-D", str(data), "-k", str(directory)),
        *("-c", "listen_addresses=", "-c", "fsync=off"),
    ]
    server = subprocess.Popen(serve, **options)  # type: ignore[call-overload]
    try:
        yield f"postgresql://penstock@/postgres?host={directory}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(directory)


@pytest.fixture
async def postgresql(postgresql_url: str, eventually: object, tmp_path: Path) -> Ledger:
    engine = sa.create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))

    def answers() -> bool:
        try:
            with engine.connect():
                return True
        except sa.exc.OperationalError:
            return False

    await eventually(answers)  # type: ignore[operator]
    engine.dispose()
    return Ledger(tmp_path, postgresql_url)


async def test_postgresql_holds_the_same_ledger(
    postgresql: Ledger, make_ledger: LedgerFactory
) -> None:
    world = a_busy_world()
    plain = make_ledger()
    plain.take_all(world)
    half = {name: messages[: len(messages) // 2] for name, messages in world.streams.items()}
    postgresql.take(half)
    postgresql.reopen()
    postgresql.take_all(world)
    assert comparable(postgresql) == comparable(plain)
    assert postgresql.library.jobs(JobsQuery()) == plain.library.jobs(JobsQuery())
    asked = UsageQuery(from_ms=0, to_ms=world.now_ms)
    assert postgresql.library.usage(asked) == plain.library.usage(asked)
    assert postgresql.balance(world) == plain.balance(world)
    assert postgresql.library.counts(10) == plain.library.counts(10)
    world.repeat_entry(1)
    world.store("USAGE", "penstock.v1.usage.n1", b"\x00rubbish")
    for either in (postgresql, plain):
        either.take_all(world)
    assert postgresql.library.findings() == plain.library.findings() != []
    with postgresql.database.writing.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    postgresql.database.close()
