"""What does a disk hold that is only imagined?

The node's disk port in memory, with what a real one may do: what was not synced survives a power
loss wholly, partly or not at all; a full one takes part of a write and refuses the rest. A killed
process loses nothing. It does not know who writes what.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from contextlib import suppress

from penstock_node_agent.reaper.disk import Disk

FREE_BYTES = 1 << 40
OnGrown = Callable[[str], None]
Change = list[tuple[str, "File | None"]]
"""Names in a directory and what they lead to from then on: all of it or nothing."""


class File:
    """`synced`: so many bytes of `data` are on the platters. `before`: what they hold instead when
    a cut of the file was not synced."""

    __slots__ = ("before", "data", "synced")

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = 0
        self.before: bytes | None = None

    def cut(self, length: int) -> None:
        if length < self.synced:
            if self.before is None:
                self.before = bytes(self.data[: self.synced])
            self.synced = length
        del self.data[length:]
        self.data.extend(bytes(length - len(self.data)))

    def sync(self) -> None:
        self.synced, self.before = len(self.data), None

    def lose_unsynced(self, rng: random.Random) -> None:
        if self.before is not None and rng.random() < 0.5:
            self.data = bytearray(self.before)
        else:
            del self.data[rng.choice((self.synced, rng.randint(self.synced, len(self.data)))) :]
        self.sync()


class SimulatedDisk(Disk):
    """`full`: nothing more can be written. `slow_s`: how long a sync takes, which `stall` is told.
    Paths are absolute; a directory is there once made."""

    def __init__(self, rng: random.Random, stall: Callable[[float], None]) -> None:
        self.full = False
        self.slow_s = 0.0
        self._rng, self._stall = rng, stall
        self._directories: dict[str, None] = {}
        self._files: dict[str, File] = {}
        self._durable: dict[str, File] = {}
        self._changes: dict[str, list[Change]] = {}
        self._open: dict[int, File] = {}
        self._next = 3
        self._watchers: dict[str, OnGrown] = {}

    # -- the port ------------------------------------------------------------------------------
    def read(self, path: str) -> bytes | None:
        file = self._files.get(path)
        return bytes(file.data) if file is not None else None

    def create(self, path: str) -> int:
        file = self._file(path)
        file.cut(0)
        return self._opened(file)

    def open(self, path: str) -> int | None:
        file = self._files.get(path)
        return self._opened(file) if file is not None else None

    def append(self, file: int, data: bytes) -> None:
        self._write(self._held(file), data)

    def pread(self, file: int, count: int, offset: int) -> bytes:
        return bytes(self._held(file).data[offset : offset + count])

    def sync(self, file: int) -> None:
        self._held(file).sync()
        if self.slow_s:
            self._stall(self.slow_s)

    def cut(self, file: int, length: int) -> None:
        self._held(file).cut(length)

    def punch(self, path: str, offset: int, length: int) -> bool:
        file = self._files.get(path)
        if file is None:
            return False
        end = min(offset + length, len(file.data))
        file.data[offset:end] = bytes(max(0, end - offset))
        return True

    def free_bytes(self, path: str) -> int:
        return 0 if self.full else FREE_BYTES

    def close(self, file: int) -> None:
        self._held(file)
        del self._open[file]

    def truncate(self, path: str, length: int) -> None:
        self._there(path).cut(length)

    def rename(self, source: str, target: str) -> None:
        self._change(target, [(source, None), (target, self._there(source))])

    def sync_directory(self, path: str) -> None:
        self._settle(path, len(self._changes.get(path, ())))

    def size(self, path: str) -> int:
        file = self._files.get(path)
        return len(file.data) if file is not None else 0

    def make_directory(self, path: str) -> None:
        while path not in self._directories and path != "/":
            self._directories[path] = None
            path = os.path.dirname(path)

    def is_pristine(self, path: str) -> bool:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return not self._below(path)

    def names(self, path: str) -> list[str]:
        inside = [*self._below(path), *self._directories]
        return [os.path.basename(name) for name in inside if os.path.dirname(name) == path]

    def remove(self, path: str) -> None:
        if path in self._files:
            self._change(path, [(path, None)])

    def remove_directory(self, path: str) -> None:
        if not self.is_pristine(path):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        del self._directories[path]

    def remove_tree(self, path: str) -> None:
        for name in self._below(path):
            self._change(name, [(name, None)])
        self._directories.pop(path, None)

    def version(self, path: str) -> tuple[object, int]:
        """Differs when a file that only grows, or is replaced, has changed."""
        return self._files.get(path), self.size(path)

    # -- what a job does ----------------------------------------------------------------------
    def is_directory(self, path: str) -> bool:
        return path in self._directories

    def touch(self, path: str) -> None:
        """Open for appending, as a spawned program's output is."""
        self._file(path)

    def append_to(self, path: str, data: bytes) -> int:
        """Returns how much of it was written."""
        file = self._file(path)
        before = len(file.data)
        with suppress(OSError):  # a program whose output finds no room goes on
            self._write(file, data)
        written = len(file.data) - before
        watcher = self._watchers.get(os.path.dirname(path))
        if written and watcher is not None:
            watcher(os.path.basename(path))
        return written

    def watch(self, directory: str, on_grown: OnGrown | None) -> None:
        """Have the names of files told that programs write to; the newest watcher only."""
        self._watchers.pop(directory, None)
        if on_grown is not None:
            self._watchers[directory] = on_grown

    # -- faults --------------------------------------------------------------------------------
    def lose_power(self) -> None:
        """Nothing is open any more, and what was not synced is lost as chance has it."""
        self._open.clear()
        self._watchers.clear()
        for directory, changes in self._changes.items():
            self._settle(directory, self._rng.randint(0, len(changes)))
        self._changes.clear()
        for file in dict.fromkeys(self._durable.values()):
            file.lose_unsynced(self._rng)
        self._files = dict(self._durable)

    def replace(self) -> None:
        """By an empty one."""
        self._open.clear()
        self._watchers.clear()
        self._directories.clear()
        self._files.clear()
        self._durable.clear()
        self._changes.clear()

    def _file(self, path: str) -> File:
        file = self._files.get(path)
        if file is None:
            if os.path.dirname(path) not in self._directories:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
            file = File()
            self._change(path, [(path, file)])
        return file

    def _there(self, path: str) -> File:
        file = self._files.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return file

    def _below(self, path: str) -> list[str]:
        return [name for name in self._files if name.startswith(f"{path}/")]

    def _held(self, number: int) -> File:
        file = self._open.get(number)
        if file is None:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return file

    def _opened(self, file: File) -> int:
        self._next += 1
        self._open[self._next] = file
        return self._next

    def _write(self, file: File, data: bytes) -> None:
        if self.full and data:
            file.data += data[: self._rng.randint(0, len(data) - 1)]
            raise OSError(errno.ENOSPC, "No space left on device")
        file.data += data

    def _change(self, path: str, change: Change) -> None:
        _apply(self._files, change)
        self._changes.setdefault(os.path.dirname(path), []).append(change)

    def _settle(self, directory: str, count: int) -> None:
        """The first so many changes to the directory are on the platters."""
        changes = self._changes.get(directory, [])
        for change in changes[:count]:
            _apply(self._durable, change)
        del changes[:count]


def _apply(files: dict[str, File], change: Change) -> None:
    for path, file in change:
        if file is None:
            files.pop(path, None)
        else:
            files[path] = file
