"""How does a test get a PostgreSQL server of its own?

One server per module that asks, in a directory of its own and reachable by a socket only; skipped
where none is installed. It does not know tables.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

START_S_MAX = 30.0
POLL_S = 0.01


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
    url = f"postgresql://penstock@/postgres?host={directory}"
    try:
        _wait_for(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(directory)


def _wait_for(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            with engine.connect():
                break
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
    engine.dispose()
