"""How does a test get a PostgreSQL database of its own?

One server for each process of tests, in a directory of its own and reachable by a socket only, and
a database for each ledger, copied from one that has been migrated. Tests that need it are skipped
where none is installed, and the run says so. It does not know tables.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from metering.absent import ABSENT
from penstock_metering.database import Database

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

    def url(self, name: str) -> str:
        return f"postgresql://penstock@/{name}?host={self._directory}"

    def make_database(self, *, migrated: bool = True) -> str:
        """Its name."""
        if migrated and not self._template:
            self._template = self.make_database(migrated=False)
            database = Database(self.url(self._template))
            database.open()
            database.close()
        self._made += 1
        name = f"ledger_{self._made}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template if migrated else 'template0'}")
        return name

    def drop_database(self, name: str) -> None:
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

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
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(directory)


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """Of a database without tables."""
    name = postgresql_server.make_database(migrated=False)
    yield postgresql_server.url(name)
    postgresql_server.drop_database(name)
