"""How does a reaper get out of this installation and into a state directory?

Packs the files of `reaper/` into one archive that Python runs by itself, and starts it. It does not
know how to talk to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

from penstock_node_agent.reaper.processes import start_ticks
from penstock_node_agent.reaper.start import EXIT_TAKEN

ARCHIVE_NAME = "reaper.pyz"
START_S_MAX = 10.0
IDENTITY_LETTERS = 12
SYSTEMD = "/run/systemd/system"
"""There where systemd is the first process: sd_booted(3)."""
_MAIN = "from penstock_node_agent.reaper.start import main\n\nmain()\n"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


log = logging.getLogger(__name__)


class ReaperDidNotStart(Exception):
    """The reaper ended before it listened; `reaper.err` in the state directory says why."""


def pack(state_dir: Path) -> Path:
    """Write the archive; the name is replaced at once, so a running reaper keeps the file it
    opened."""
    root = Path(__file__).parent
    part = state_dir / f"{ARCHIVE_NAME}.new"
    with zipfile.ZipFile(part, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _FIXED_DATE), _MAIN)
        for source in _sources():
            name = str(source.relative_to(root.parent))
            archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), source.read_bytes())
    target = state_dir / ARCHIVE_NAME
    part.rename(target)
    return target


def code_name() -> str:
    """Names the reaper that this installation starts: another one has other code."""
    found = hashlib.sha256()
    for path in _sources():
        found.update(path.read_bytes())
    return found.hexdigest()[:IDENTITY_LETTERS]


def _sources() -> list[Path]:
    root = Path(__file__).parent
    return [root / "__init__.py", *sorted(root.glob("reaper/*.py"))]


def identity(state_dir: Path) -> str:
    """What names this state directory on its host, in a control group's name for one."""
    return hashlib.sha256(os.path.realpath(state_dir).encode()).hexdigest()[:IDENTITY_LETTERS]


async def start(state_dir: Path) -> None:
    """Start a reaper unless one runs already, and return when it listens.

    It is nobody's child afterwards but init's: it outlives the agent and whoever started that.
    Raises ReaperDidNotStart.
    """
    async with asyncio.timeout(START_S_MAX):
        code = await asyncio.to_thread(_launch, state_dir)
    if code not in (0, EXIT_TAKEN):
        raise ReaperDidNotStart(f"the reaper ended with {code}; see {state_dir}/reaper.err")


async def end(state_dir: Path, timeout_s: float) -> None:
    """Have the reaper stop all work and end, without a connection to it; what ended stays in its
    log for the next one."""
    pid_file = state_dir / "reaper.pid"
    try:
        pid, ticks = (int(part) for part in pid_file.read_text("ascii").split())
    except (FileNotFoundError, ValueError):
        return
    descriptor = _pin(pid, ticks)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(descriptor, ended.set_result, None)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        await asyncio.wait_for(ended, timeout_s)
    except (ProcessLookupError, TimeoutError) as error:
        log.warning("the reaper: %r", error)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _pin(pid: int, ticks: int) -> int | None:
    """A descriptor of exactly that process; None when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_ticks(pid) != ticks:
        os.close(descriptor)
        return None
    return descriptor


def _launch(state_dir: Path) -> int:
    """Start the first process of the double fork and wait for its end."""
    argv = [
        *(sys.executable, "-I", "-S", "-W", "ignore::DeprecationWarning"),
        *(str(pack(state_dir)), str(state_dir), identity(state_dir), code_name()),
    ]
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    if "XDG_RUNTIME_DIR" in os.environ:  # where a user's systemd listens
        environment["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
    code = -1
    for prefix in (_scope(state_dir), []):
        command = [*prefix, *argv]
        pid = os.posix_spawn(command[0], command, environment, file_actions=null)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code in (0, EXIT_TAKEN):
            break
    return code


def _scope(state_dir: Path) -> list[str]:
    """What has systemd give the command a scope of its own, where it runs: no stop or restart of
    the agent's unit touches what is in there, and its control groups are ours to divide. Nothing
    without systemd; and a reaper starts without a scope too."""
    program = shutil.which("systemd-run")
    if program is None or not os.path.isdir(SYSTEMD):
        return []
    return [
        *(program, *(() if os.geteuid() == 0 else ("--user",))),
        *("--scope", "--quiet", "--collect", "--property=Delegate=yes"),
        *(f"--description=Penstock's work in {state_dir}", "--"),
    ]
