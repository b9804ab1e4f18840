"""Who starts programs that may gain privileges?

All that this process starts has no_new_privs: what runs for a job gains nothing from a setuid
program. A container engine may need such programs itself (newuidmap), and what it starts decides
for itself; so one thread stays without the bit. It does not know what it starts.
"""

from __future__ import annotations

import _thread
import ctypes
import os
from _queue import SimpleQueue  # `queue` itself would cost the reaper 1 MB
from collections.abc import Callable, Mapping
from typing import Any

PR_SET_NO_NEW_PRIVS = 38

Refusal = OSError | ValueError | TypeError
_Work = tuple[Callable[[], int], SimpleQueue[int | Refusal]]
_work: list[SimpleQueue[_Work]] = []
"""The thread's, once there is one."""


def bind() -> None:
    """From now on whatever this thread starts gains no privileges, what `spawn` starts may."""
    if not _work:
        _work.append(SimpleQueue())
        _thread.start_new_thread(_serve, (_work[0],))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot set no_new_privs")


def spawn(path: str, argv: list[str], env: Mapping[str, str], **how: Any) -> int:
    """As `os.posix_spawn`, without the bit."""

    def start() -> int:
        return os.posix_spawn(path, argv, env, **how)

    if not _work:
        return start()
    answer: SimpleQueue[int | Refusal] = SimpleQueue()
    _work[0].put((start, answer))
    outcome = answer.get()
    if isinstance(outcome, int):
        return outcome
    raise outcome


def _serve(work: SimpleQueue[_Work]) -> None:
    while True:
        start, answer = work.get()
        try:
            answer.put(start())
        except (OSError, ValueError, TypeError) as error:  # else the reaper would wait for ever
            answer.put(error)
