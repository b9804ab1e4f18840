"""How does a test get a PostgreSQL database of its own?

One server for each process of tests, in a directory of its own and reachable by a socket only, and
a database for each ledger, copied from one that has been migrated, or an earlier test's with all
its rows removed, which is had sooner. Tests that need it are skipped where none is installed, and
the run says so. It does not know what tables mean.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from metering.absent import ABSENT
from metering.quick import QuickDatabase
from penstock_metering.ledger.database import Database

START_S_MAX = 60.0
POLL_S = 0.01
SETTINGS = (
    "listen_addresses=",
    "max_connections=300",
    # What is lost with the machine is not asked for here.
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "autovacuum=off",
    "jit=off",
    "shared_buffers=32MB",
)


def find_program(name: str) -> str | None:
    found = shutil.which(name)
    if found:
        return str(Path(found).resolve())
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(candidates[-1]) if candidates else None


def is_installed() -> bool:
    return find_program("initdb") is not None and find_program("postgres") is not None


def unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.getuid() == 0 else None


class Server:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0
        self._engine = sa.create_engine(
            self.url("postgres").replace("postgresql:", "postgresql+psycopg:"),
            isolation_level="AUTOCOMMIT",
        )
        self._template = ""
        self._filled: dict[str, str] = {}
        """Rows of the template: JSON by table."""
        self._blank: list[str] = []

    def url(self, name: str) -> str:
        return f"postgresql://penstock@/{name}?host={self._directory}"

    def make_database(self) -> str:
        """The name of one without tables."""
        return self._create("template0")

    def drop_database(self, name: str) -> None:
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def lend_ledger(self) -> str:
        """The URL of a database that has been migrated, and in which nothing else was written."""
        if not self._template:
            self._template = self.make_database()
            database = Database(self.url(self._template))
            database.open()
            database.close()
            with self._connected_to(self.url(self._template)) as connection:
                for table in self._tables(connection):
                    rows = connection.exec_driver_sql(f"SELECT json_agg(t) FROM {table} t").scalar()
                    self._filled[table] = json.dumps(rows) if rows else ""
        return self._blank.pop() if self._blank else self.url(self._create(self._template))

    def take_ledger_back(self, url: str) -> None:
        with self._connected_to(url) as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if self._tables(connection) != list(self._filled):
                raise RuntimeError(f"{url} has other tables than a ledger")
            asked = " UNION ALL ".join(
                f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in self._filled
            )
            used = connection.exec_driver_sql(asked).scalars().all()
            if used:
                connection.exec_driver_sql(f"TRUNCATE {', '.join(used)}")
            for table, rows in self._filled.items():
                if rows:
                    connection.exec_driver_sql(
                        f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table},"
                        " %s::json)",
                        (rows,),
                    )
        self._blank.append(url)

    def close(self) -> None:
        self._engine.dispose()

    def wait(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                return self._run("SELECT 1")
            except sa.exc.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def _create(self, template: str) -> str:
        self._made += 1
        name = f"ledger_{self._made}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    @contextmanager
    def _connected_to(self, url: str) -> Iterator[sa.Connection]:
        engine = QuickDatabase(url).writing
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def _tables(self, connection: sa.Connection) -> list[str]:
        found = connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        )
        return list(found.scalars())

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    if not is_installed():
        pytest.skip(ABSENT)
    directory = Path(tempfile.mkdtemp(prefix="penstock-pg-", dir="/tmp"))
    user = unprivileged_user()
    if user:
        shutil.chown(directory, user)
    options = {"user": user, "cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data = directory / "data"
    initdb, postgres = str(find_program("initdb")), str(find_program("postgres"))
    init = [initdb, "-D", str(data), "-U", "penstock", "-A", "trust", "-N"]
    subprocess.run(init, check=True, **options)  # type: ignore[call-overload]
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    argv = [postgres, "-D", str(data), "-k", str(directory), *settings]
    process = subprocess.Popen(argv, **options)  # type: ignore[call-overload]
    server = Server(directory)
    try:
        server.wait()
        yield server
    finally:
        server.close()
        process.send_signal(signal.SIGQUIT)  # at once: nothing of it is wanted any more
        process.wait()
        shutil.rmtree(directory)


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """Of a database without tables."""
    name = postgresql_server.make_database()
    yield postgresql_server.url(name)
    postgresql_server.drop_database(name)
