"""How is a second scheduler started beside the one of a running mesh?

With the first one's own command line and environment, only its HTTP port set free.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from e2e import processes
from e2e.mesh import Mesh


@contextmanager
def a_second_scheduler(mesh: Mesh, first: int) -> Iterator[subprocess.Popen[bytes]]:
    line = list(processes.command_line(first))
    if "--http-port" in line:
        line[line.index("--http-port") + 1] = "0"
    with open(mesh.home / "second.log", "wb") as log:
        process = subprocess.Popen(
            line, env=processes.environment(first), stdout=log, stderr=log, cwd=mesh.home
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)
