"""Which spool files have grown?

One inotify watch for all of a node's spool files: a job that writes nothing costs nothing. Where
inotify cannot be had, or has lost track, it says so and the caller looks at everything. It does not
read the files.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Callable, Iterable

IN_MODIFY = 0x2
IN_Q_OVERFLOW = 0x4000
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC
PAUSE_S = 0.005
"""After a look, the next one: bounds what a job costs that writes byte by byte."""
POLL_S = 0.05
READ_BYTES = 64 * 1024

OnGrown = Callable[[Iterable[str] | None], None]
"""Hears the names of files that grew, or None: any may have."""

log = logging.getLogger(__name__)
_event = struct.Struct("iIII")


class SpoolWatch:
    """Watches until `close`."""

    def __init__(self, directory: str, on_grown: OnGrown) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_grown = on_grown
        self._timer: asyncio.TimerHandle | None = None
        self._fd = _watch(directory)
        if self._fd is None:
            log.warning("no inotify: spool files are polled")
            self._timer = self._loop.call_later(POLL_S, self._poll)
        else:
            self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _poll(self) -> None:
        self._on_grown(None)
        self._timer = self._loop.call_later(POLL_S, self._poll)

    def _read(self) -> None:
        if self._fd is None:
            return
        self._loop.remove_reader(self._fd)
        self._timer = self._loop.call_later(PAUSE_S, self._resume)
        names: dict[str, None] | None = {}
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            _, mask, _, length = _event.unpack_from(data, at)
            at += _event.size
            if mask & IN_Q_OVERFLOW:
                names = None
            elif names is not None:
                names[data[at : at + length].rstrip(b"\0").decode()] = None
            at += length
        self._on_grown(names)

    def _resume(self) -> None:
        self._timer = None
        if self._fd is not None:
            self._loop.add_reader(self._fd, self._read)


def _watch(directory: str) -> int | None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    if fd < 0:
        return None
    if libc.inotify_add_watch(fd, os.fsencode(directory), IN_MODIFY) < 0:
        os.close(fd)
        return None
    return fd
