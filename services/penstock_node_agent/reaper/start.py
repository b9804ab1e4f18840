"""How does a reaper come to life?

The entry point of `reaper.pyz`: leaves its parent by a double fork, takes the state directory's
lock, is the subreaper of all it will start, and runs. The first process ends when the socket
listens, so that whoever started it may connect. It does not know what the reaper then does.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import time

from penstock_node_agent.reaper import unbound
from penstock_node_agent.reaper.abilities import equip, offers_and_facts
from penstock_node_agent.reaper.channel import Channel
from penstock_node_agent.reaper.containers import Containers
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.loop import Reaper
from penstock_node_agent.reaper.podman import Podman
from penstock_node_agent.reaper.processes import Processes, start_ticks

PR_SET_CHILD_SUBREAPER = 36
DESCRIPTORS_OWN, DESCRIPTORS_MAX = 3, 1 << 16
"""Whatever else was left open to it, no job inherits."""
EXIT_TAKEN = 3
"""Another reaper has this state directory."""


def main() -> None:
    os.closerange(DESCRIPTORS_OWN, DESCRIPTORS_MAX)
    directory, identity, code = os.path.realpath(sys.argv[1]), sys.argv[2], sys.argv[3]
    listening, told = os.pipe()
    if os.fork():
        os.close(told)
        os._exit((os.read(listening, 1) or b"\1")[0])
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(listening)
    _leave_terminal(directory)
    lock = os.open(f"{directory}/reaper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(told, bytes([EXIT_TAKEN]))
        os._exit(EXIT_TAKEN)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the subreaper")
    _serve(directory, identity, code, told)


def _serve(directory: str, identity: str, code: str, told: int) -> None:
    wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    processes = Processes(identity)
    equip(processes, identity)
    told_of = offers_and_facts(processes)
    unbound.bind()
    containers = Containers(
        directory,
        disk=Disk(),
        podman=Podman(directory),
        boottime_ns=_boottime_ns,
        complain=sys.stderr.write,
    )
    reaper = Reaper(
        directory,
        boot_id,
        disk=Disk(),
        processes=processes,
        containers=containers,
        channel=Channel(root, wakeup_read, containers.descriptor),
        boottime_ns=_boottime_ns,
        complain=sys.stderr.write,
        abilities={**told_of, "code": code},
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: reaper.leave())
    _write_pid_file(directory)
    os.write(told, b"\0")
    os.close(told)
    reaper.run()
    processes.close()
    os.unlink(f"{directory}/reaper.pid")


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _leave_terminal(directory: str) -> None:
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    errors = os.open(f"{directory}/reaper.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, null), (2, errors)):
        os.dup2(source, target)
    os.chdir("/")


def _write_pid_file(directory: str) -> None:
    """ "pid start_ticks": a pid alone could mean another process later."""
    pid = os.getpid()
    part = f"{directory}/reaper.pid.new"
    with open(part, "w", encoding="ascii") as file:
        file.write(f"{pid} {start_ticks(pid)}\n")
    os.rename(part, f"{directory}/reaper.pid")
