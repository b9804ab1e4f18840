"""How does a reaper get out of this installation and into a state directory?

Packs the files of `reaper/` into one archive that Python runs by itself, and starts it. It does not
know how to talk to it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import zipfile
from pathlib import Path

from penstock_node_agent.reaper.start import EXIT_TAKEN

ARCHIVE_NAME = "reaper.pyz"
START_S_MAX = 10.0
_MAIN = "from penstock_node_agent.reaper.start import main\n\nmain()\n"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


class ReaperDidNotStart(Exception):
    """The reaper ended before it listened; `reaper.err` in the state directory says why."""


def pack(state_dir: Path) -> Path:
    """Write the archive; the name is replaced at once, so a running reaper keeps the file it
    opened."""
    root = Path(__file__).parent
    sources = ["__init__.py", *(f"reaper/{path.name}" for path in sorted(root.glob("reaper/*.py")))]
    part = state_dir / f"{ARCHIVE_NAME}.new"
    with zipfile.ZipFile(part, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _FIXED_DATE), _MAIN)
        for source in sources:
            name = f"{root.name}/{source}"
            archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), (root / source).read_bytes())
    target = state_dir / ARCHIVE_NAME
    part.rename(target)
    return target


async def start(state_dir: Path) -> None:
    """Start a reaper unless one runs already, and return when it listens.

    It is nobody's child afterwards but init's: it outlives the agent and whoever started that.
    Raises ReaperDidNotStart.
    """
    async with asyncio.timeout(START_S_MAX):
        code = await asyncio.to_thread(_launch, state_dir)
    if code not in (0, EXIT_TAKEN):
        raise ReaperDidNotStart(f"the reaper ended with {code}; see {state_dir}/reaper.err")


def _launch(state_dir: Path) -> int:
    """Start the first process of the double fork and wait for its end."""
    argv = [sys.executable, "-I", "-S", str(pack(state_dir)), str(state_dir)]
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
