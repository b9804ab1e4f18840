"""What is asked of this node's disk?

The few calls by which journal, log, slots and spool files are kept; a simulated disk has the same.
Standard library only, because the reaper uses it too. It does not know what any file holds.
"""

from __future__ import annotations

import os

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
PUNCH_HOLE = 0x03
"""FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (linux/falloc.h)."""


class Disk:
    """The real one. Files are descriptors; everything raises OSError."""

    def read(self, path: str) -> bytes | None:
        """The whole file; None when there is none."""
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def create(self, path: str) -> int:
        """An empty file in place of whatever is there, to be appended to."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, FILE_MODE)

    def open(self, path: str) -> int | None:
        """For `pread`; None when there is no such file."""
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def append(self, file: int, data: bytes) -> None:
        """Write all of it; where that fails, part of it may stand in the file."""
        while data:
            data = data[os.write(file, data) :]

    def pread(self, file: int, count: int, offset: int) -> bytes:
        return os.pread(file, count, offset)

    def sync(self, file: int) -> None:
        """What the file holds survives a power loss."""
        os.fdatasync(file)

    def cut(self, file: int, length: int) -> None:
        os.ftruncate(file, length)

    def close(self, file: int) -> None:
        os.close(file)

    def punch(self, path: str, offset: int, length: int) -> bool:
        """Give back the room of these bytes, which read as zeros from now on; the file keeps its
        size. False when there is no such file, or its file system cannot do that."""
        import ctypes  # an import that the reaper has no use for

        try:
            file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            begin, count = ctypes.c_long(offset), ctypes.c_long(length)
            refused: int = ctypes.CDLL(None).fallocate(file, PUNCH_HOLE, begin, count)
            return not refused
        finally:
            os.close(file)

    def free_bytes(self, path: str) -> int:
        """Room left where this directory is."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def truncate(self, path: str, length: int) -> None:
        os.truncate(path, length)

    def rename(self, source: str, target: str) -> None:
        """Survives a power loss once the directory is synced."""
        os.rename(source, target)

    def sync_directory(self, path: str) -> None:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def size(self, path: str) -> int:
        """In bytes; 0 when the file cannot be asked."""
        try:
            return os.stat(path).st_size
        except OSError:
            return 0

    def make_directory(self, path: str) -> None:
        os.makedirs(path, DIRECTORY_MODE, exist_ok=True)

    def names(self, path: str) -> list[str]:
        """What is in a directory, in no certain order."""
        return os.listdir(path)

    def is_pristine(self, path: str) -> bool:
        """Whether a directory is as `make_directory` makes it: ours, empty, its mode unchanged."""
        status = os.stat(path)
        if status.st_mode & 0o7777 != DIRECTORY_MODE or status.st_uid != os.geteuid():
            return False
        with os.scandir(path) as entries:
            return next(entries, None) is None

    def remove(self, path: str) -> None:
        """A file that may be there."""
        if os.path.lexists(path):
            os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """One that is empty."""
        os.rmdir(path)

    def remove_tree(self, path: str) -> None:
        """Whatever is there, if anything; takes as long as there is to remove."""
        import shutil  # an import that the reaper has no use for

        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
        elif os.path.exists(path):
            _open_up(path)
            shutil.rmtree(path)


def _open_up(path: str) -> None:
    """Give back the rights that a job took away from its own directories."""
    os.chmod(path, DIRECTORY_MODE)
    for parent, directories, _ in os.walk(path):
        for name in directories:
            child = os.path.join(parent, name)
            if not os.path.islink(child):
                os.chmod(child, DIRECTORY_MODE)
