"""How is a file put below a directory, and taken from below one, without ever leaving it?

Every part of a path is opened by itself and no link is followed, so that what a job has made cannot
lead elsewhere. A file appears under its name when all of it is written. Blocking; system calls and
nothing else. It does not know what the files are for.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
PART_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Ids = tuple[int, int]
"""User and group."""

PART_SUFFIX = ".penstock-part"
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


class NoFile(Exception):
    """There is none that may be taken; the sentence says why."""


class Incoming:
    """A file that is being written beside its place. `owner`: the user and group whose it is, and
    the directories that are made for it."""

    def __init__(self, root: str, path: str, owner: Ids | None) -> None:
        self._directory, self._name = _enter(root, path, make=True, owner=owner)
        self._part = f".{self._name}{PART_SUFFIX}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._part, dir_fd=self._directory)
            self._file = os.open(self._part, PART_FLAGS, FILE_MODE, dir_fd=self._directory)
        except OSError:
            os.close(self._directory)
            raise
        if owner is not None:
            os.fchown(self._file, *owner)
        self.size = 0

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            done = os.write(self._file, view)
            self.size += done
            view = view[done:]

    def keep(self) -> None:
        """It takes its place, and what was there is gone."""
        os.rename(self._part, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def keep_for_good(self) -> None:
        """`keep`, and it is on the disk."""
        os.fsync(self._file)
        self.keep()
        os.fsync(self._directory)

    def close(self) -> None:
        """Without `keep` before, nothing is left of it."""
        os.close(self._file)
        with suppress(OSError):
            os.unlink(self._part, dir_fd=self._directory)
        os.close(self._directory)


class Outgoing:
    """A file that is being read; its size is what it was when it was opened."""

    def __init__(self, root: str, path: str) -> None:
        directory, name = _enter(root, path, make=False)
        try:
            self._file = os.open(name, FILE_FLAGS, dir_fd=directory)
        except OSError as error:
            raise NoFile(f"{path}: {error.strerror}") from error
        finally:
            os.close(directory)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._file)
            raise NoFile(f"{path} is not a file")
        self.size, self.owner, self.links = found.st_size, found.st_uid, found.st_nlink

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end only."""
        data = b""
        while len(data) < count and (more := os.read(self._file, count - len(data))):
            data += more
        return data

    def close(self) -> None:
        os.close(self._file)


class WorkFiles:
    """This host's."""

    def incoming(self, root: str, path: str, owner: Ids | None = None) -> Incoming:
        """Raises NoFile where the path leaves `root`, OSError."""
        return Incoming(root, path, owner)

    def outgoing(self, root: str, path: str) -> Outgoing:
        """Raises NoFile, OSError."""
        return Outgoing(root, path)


def _enter(root: str, path: str, *, make: bool, owner: Ids | None = None) -> tuple[int, str]:
    """A descriptor of the directory that the path's last part is in, and that part."""
    *above, name = path.split("/")
    if not name or any(part in ("", ".", "..") for part in (*above, name)):
        raise NoFile(f"{path} does not stay below its directory")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in above:
        try:
            made = make and _make(part, here)
            deeper = os.open(part, DIRECTORY_FLAGS, dir_fd=here)
            if made and owner is not None:
                os.fchown(deeper, *owner)
        except OSError as error:
            raise NoFile(f"{path}: {part}: {error.strerror}") from error
        finally:
            os.close(here)
        here = deeper
    return here, name


def _make(part: str, here: int) -> bool:
    try:
        os.mkdir(part, DIRECTORY_MODE, dir_fd=here)
    except FileExistsError:
        return False
    return True
