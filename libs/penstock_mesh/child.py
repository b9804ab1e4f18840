"""How is one process of the mesh started, watched and signalled?

A child has a session of its own (a Ctrl-C in the terminal reaches only the supervisor), default
signal dispositions, output in its own file, and ends when the supervisor is killed. When to start
it again is the supervisor's question.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock_mesh.process_identity import ProcessIdentity, identify

LOG_BYTES_MAX = 64 << 20
"""A larger log is put aside, as `NAME.log.1`, when its process starts."""
PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""
EXIT_PARENT_GONE = 70
RESET_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)

_libc = ctypes.CDLL(None, use_errno=True)


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process to keep running. `environment` is set over the supervisor's own.
    `reaper_pid_file`: where the process names one that outlives it and has to be ended
    separately; the file may be absent.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    directory: Path
    environment: dict[str, str] = {}
    reaper_pid_file: Path | None = None


class RunningChild:
    """A started process. `on_exit` is called once, in the event loop, with its wait status: the
    exit code, or minus the signal.
    """

    def __init__(self, spec: ChildSpec, on_exit: Callable[[int], None]) -> None:
        """Starts it. Raises OSError."""
        self._process = _spawn(spec)
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self.started_s = self._loop.time()
        identity = identify(self._process.pid)
        if identity is None:
            raise ProcessLookupError(f"no /proc entry for child {self._process.pid}")
        self.identity: ProcessIdentity = identity
        self._descriptor = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._descriptor, self._reap)

    def send(self, number: signal.Signals) -> None:
        """Signals it. Until its status is taken the pid cannot be another's."""
        self._process.send_signal(number)

    def _reap(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._on_exit(self._process.wait())


def describe_status(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _spawn(spec: ChildSpec) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:
            os._exit(EXIT_PARENT_GONE)
        for number in RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    spec.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if spec.log.exists() and spec.log.stat().st_size > LOG_BYTES_MAX:
        os.replace(spec.log, spec.log.with_name(spec.log.name + ".1"))
    with open(spec.log, "ab") as log:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=spec.directory,
            env=os.environ | spec.environment,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - nothing else expresses PR_SET_PDEATHSIG
        )
