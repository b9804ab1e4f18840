"""How does a job begin that needs more than a program and an environment?

A child of the reaper makes itself what the order says: limits, user, /tmp. Nothing here costs a
plain job anything. It does not know who asked for it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from penstock_node_agent.reaper import cgroups, privileges

WAIT_MS = 250
"""How long the reaper stands still for a child that is not ready: a user may be in a directory far
away. What goes wrong later is told when it ends."""
FAULT_BYTES_MAX = 4096
EXIT_FAILED = 127


class Launched(NamedTuple):
    """`faults`: where the child says what went wrong; -1 when it runs its program."""

    pid: int
    faults: int


def needed(order: dict[str, Any]) -> bool:
    """Whether the order wants what only a child of ours can give."""
    return bool(order.get("user") or order.get("rlimits") or order.get("private_tmp"))


def launch(order: dict[str, Any], joins: list[str], execute: Callable[[], None]) -> Launched:
    """Fork; the child joins the groups, becomes what the order says and calls `execute`, which
    does not return. Raises OSError when it fails at once."""
    faults, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _live(order, joins, execute, parent, told)
    os.close(told)
    if not _is_settled(faults):
        return Launched(pid, faults)
    fault = read_fault(faults)
    if fault:
        os.waitpid(pid, 0)
        raise OSError(fault)
    return Launched(pid, -1)


def read_fault(faults: int) -> str:
    """What the child has said, "" for nothing; closes."""
    try:
        return os.read(faults, FAULT_BYTES_MAX).decode("utf-8", "replace")
    except BlockingIOError:
        return ""
    finally:
        os.close(faults)


def _is_settled(faults: int) -> bool:
    """Whether it runs its program or has failed, within the time that there is."""
    poll = select.poll()
    poll.register(faults, select.POLLIN)
    deadline = time.monotonic() + WAIT_MS / 1000
    while (left_s := deadline - time.monotonic()) > 0:
        if poll.poll(max(1, int(left_s * 1000))):
            return True
    return False


def _live(
    order: dict[str, Any], joins: list[str], execute: Callable[[], None], parent: int, told: int
) -> None:
    """The child's whole life before its program's."""
    try:
        privileges.die_with(parent)
        for number in (signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for path in joins:
            cgroups.write(path, "0")
        _open(order)
        os.chdir(order["cwd"])
        if order.get("private_tmp"):
            privileges.hide_tmp(order["cwd"], order.get("memory_mib"))
        if order.get("rlimits"):
            privileges.limit(order["rlimits"])
        if order.get("user"):
            privileges.become(order["user"], order["cwd"], order["env"])
        privileges.outlive()
        execute()
    except (OSError, ValueError, TypeError, LookupError) as error:
        os.write(told, str(error).encode()[:FAULT_BYTES_MAX])
    finally:  # nothing may come back from here
        os._exit(EXIT_FAILED)


def _open(order: dict[str, Any]) -> None:
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    sources = (("/dev/null", os.O_RDONLY), (order["out"], output), (order["err"], output))
    for target, (path, flags) in enumerate(sources):
        file = os.open(path, flags, 0o600)
        os.dup2(file, target)
        os.close(file)
