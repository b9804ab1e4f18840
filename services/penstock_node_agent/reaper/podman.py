"""How is podman asked, and a container's first process watched?

System calls, /proc and cgroup files, nothing else; a simulated host has the same calls. It does not
know which container should be started, removed or killed.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import select
import signal
import struct
import time
from datetime import datetime
from typing import Any

from penstock_node_agent.reaper import container_cgroups, unbound
from penstock_node_agent.reaper.container_cgroups import words_of
from penstock_node_agent.reaper.processes import OUTPUT_FLAGS

MARK = "PENSTOCK_PODMAN"
ANSWER_BYTES_MAX = 4 << 20
SPOOL_MODE = 0o622
"""What runs in a container under another user may open /dev/stdout anew; the directory above lets
nobody else come here."""
ENV_FILE = "/proc/self/fd/3"
STEERING = re.compile(
    r"(LD_|GO|GLIBC|MALLOC|XDG_|CONTAINER|BUILDAH|STORAGE|REGISTRY|DOCKER|SSL_|DBUS|NOTIFY_|LISTEN_"
    r"|TMP|PATH$|HOME$|USER|LOGNAME|LANG|LC_|NLSPATH|LOCPATH|GCONV|TERM|PENSTOCK_PODMAN|_)"
    r"|.*PROXY",
    re.IGNORECASE,
)
"""Names that would change what podman itself does, not only what it hands on."""
PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 1 << 3
PIDFD_INFO = struct.Struct("QQ11Ii")
"""linux/pidfd.h: mask, cgroupid, eleven ids, exit_code. Told since Linux 6.15, also of processes
that are no children of who asks, and when they have been waited for."""


def podman_environment() -> dict[str, str]:
    """What podman needs to find its storage, and nothing that a job says."""
    user = os.geteuid()
    try:
        home = pwd.getpwuid(user).pw_dir
    except KeyError:
        home = "/"
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LANG": "C.UTF-8"}
    if user and os.path.isdir(f"/run/user/{user}"):
        env["XDG_RUNTIME_DIR"] = f"/run/user/{user}"
        env["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path=/run/user/{user}/bus"
    return env


class Podman:
    """This host's. `descriptor`: readable when a watched process has ended."""

    def __init__(self, directory: str) -> None:
        self._epoll = select.epoll()
        self._directory = directory
        self._env = {**podman_environment(), MARK: directory}
        self._answers: dict[int, int] = {}
        self.descriptor = self._epoll.fileno()

    # -- its commands --------------------------------------------------------------------------
    def run(
        self,
        argv: list[str],
        args: list[str],
        env: dict[str, str],
        out: str,
        err: str,
        place: str,
    ) -> int:
        """Start `argv` with the variables of the job and then `args`; returns the command's pid.
        Raises OSError, ValueError, TypeError. What it writes, and what the container does, goes to
        `out` and `err`. conmon keeps `place` for its working directory, and makes a file `oom`
        there when memory has run out. No variable stands in a command line, where others could
        read it."""
        lines, own = [], {}
        for name, value in env.items():
            if "\n" not in value:
                lines.append(f"{name}={value}\n")
            elif STEERING.match(name):
                raise ValueError(f"{name} cannot hold a line break in a container")
            else:
                own[name] = value
        spools = [_spool(out), _spool(err)]
        file = os.memfd_create("env", os.MFD_CLOEXEC)
        try:
            os.write(file, "".join(lines).encode())
            whole = [*argv, "--env-file", ENV_FILE, *(f"--env={name}" for name in own), *args]
            os.chdir(place)
            return self._start(whole, {**self._env, **own}, (spools[0], spools[1], file))
        finally:
            for descriptor in (*spools, file):
                os.close(descriptor)

    def ask(self, argv: list[str]) -> int:
        """Start a command whose answer is wanted; returns its pid. Raises OSError."""
        answer = os.memfd_create("answer", os.MFD_CLOEXEC)
        try:
            os.chdir(self._directory)  # not where some job works
            pid = self._start(argv, self._env, (answer, answer))
        except OSError:
            os.close(answer)
            raise
        self._answers[pid] = answer
        return pid

    def answer(self, pid: int) -> str:
        """What a command that was asked and has ended wrote; it is told once."""
        descriptor = self._answers.pop(pid, None)
        if descriptor is None:
            return ""
        try:
            return os.pread(descriptor, ANSWER_BYTES_MAX, 0).decode(errors="replace")
        finally:
            os.close(descriptor)

    def end(self, pid: int) -> None:
        """A command that takes too long; it ends as any child does."""
        _quietly(os.killpg, pid, signal.SIGKILL)

    def end_others(self, pids: list[int]) -> None:
        """Commands that a reaper of this state directory left when it died."""
        mark = f"{MARK}={self._env[MARK]}".encode()
        for pid in pids:
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        os.kill(pid, signal.SIGKILL)
            except OSError:
                continue

    def names(self, pid: int, name: str) -> bool:
        """Whether a process has this word in its command line."""
        return name in words_of(pid)

    def _start(self, argv: list[str], env: dict[str, str], descriptors: tuple[int, ...]) -> int:
        """`descriptors`: what it has from 1 on."""
        program = argv[0]
        if "/" not in program:
            found = (f"{directory}/{program}" for directory in env["PATH"].split(":"))
            program = next((path for path in found if os.access(path, os.X_OK)), program)
        actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        # above those that they become, so that none is overwritten before its turn
        held = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 16) for one in descriptors]
        try:
            actions += [(os.POSIX_SPAWN_DUP2, one, at) for at, one in enumerate(held, 1)]
            ignored = [s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN]
            return unbound.spawn(
                program,
                argv,
                env,
                file_actions=actions,
                setsid=True,
                setsigdef=sorted(ignored),
                setsigmask=(),
            )
        finally:
            for one in held:
                os.close(one)

    # -- a container's first process -----------------------------------------------------------
    def watch(self, pid: int) -> int | None:
        """A descriptor of the process, which leads a session; None when it is gone."""
        try:
            watched = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            own = os.getsid(pid) == pid
        except OSError:
            own = False
        if not own:
            os.close(watched)
            return None
        self._epoll.register(watched, select.EPOLLIN | select.EPOLLONESHOT)
        return watched

    def ended(self) -> list[int]:
        """Those watched whose process has ended; each is told once."""
        return [descriptor for descriptor, _ in self._epoll.poll(0)]

    def status(self, watched: int) -> int | None:
        """The wait status of a process that has ended; None: not yet, or this kernel does not
        tell."""
        info = bytearray(PIDFD_INFO.pack(PIDFD_INFO_EXIT, *[0] * 13))
        try:
            fcntl.ioctl(watched, PIDFD_GET_INFO, info)
        except OSError:
            return None
        fields = PIDFD_INFO.unpack(info)
        return int(fields[-1]) if fields[0] & PIDFD_INFO_EXIT else None

    def signal(self, watched: int, pid: int, number: int) -> None:
        """To the process and its group; none that has come to the number is meant."""
        if number == signal.SIGKILL:
            _quietly(signal.pidfd_send_signal, watched, number)
        elif not select.select([watched], [], [], 0)[0]:
            _quietly(os.killpg, pid, number)

    def leave(self, watched: int) -> None:
        """It is watched no more."""
        os.close(watched)

    # -- its cgroups ---------------------------------------------------------------------------
    def cgroups(self, pid: int, monitor: int | None) -> dict[str, str]:
        return container_cgroups.cgroups_of(pid, monitor)

    def out_of_memory(self, cgroups: dict[str, str]) -> bool:
        return container_cgroups.ran_out_of_memory(cgroups)

    def probe(self, pid: int, cgroups: dict[str, str]) -> int:
        """Start a child that tries whether the container's devices can be opened; returns its
        pid."""
        child = os.fork()
        if child == 0:
            os._exit(container_cgroups.devices_error(pid, cgroups))
        return child

    def ago_ns(self, instant: str) -> int:
        """How long ago, by the wall clock, an instant was that podman tells; at least 0."""
        matched = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", instant)
        if matched is None:
            return 0
        at = datetime.fromisoformat(matched[1] + matched[3].replace("Z", "+00:00"))
        fraction = float(matched[2] or "0")
        return max(0, time.time_ns() - int((at.timestamp() + fraction) * 1_000_000_000))


def _spool(path: str) -> int:
    descriptor = os.open(path, OUTPUT_FLAGS | os.O_CLOEXEC, SPOOL_MODE)
    os.fchmod(descriptor, SPOOL_MODE)
    return descriptor


def _quietly(call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except (ProcessLookupError, PermissionError):
        return  # gone already
