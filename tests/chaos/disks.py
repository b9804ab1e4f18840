"""Where do processes keep their files, so that a disk can fill up without harm to anybody else?

Small disks of their own: ext4 on a loop device where that works (brokers, which sync), else tmpfs.
Filling one leaves no byte free until it is emptied again. It needs root. It does not know whose
disk it is.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

MIB = 1024 * 1024
FILLER = "filler"


class Disk:
    """One mounted file system of `size_mib`."""

    def __init__(self, path: Path, size_mib: int, *, loop: bool) -> None:
        self.path = path
        self._image = path.with_suffix(".img")
        path.mkdir(parents=True)
        if loop and self._mount_loop(size_mib):
            self.kind = "ext4"
            return
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(path))
        self.kind = "tmpfs"

    def _mount_loop(self, size_mib: int) -> bool:
        with self._image.open("wb") as image:
            image.truncate(size_mib * MIB)
        try:
            _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
            _run("mount", "-o", "loop", str(self._image), str(self.path))
        except (OSError, subprocess.CalledProcessError):
            self._image.unlink()
            return False
        return True

    def fill(self) -> None:
        """Until not another byte fits."""
        descriptor = os.open(self.path / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (MIB, 4096, 1):
                block = b"\0" * size
                try:
                    while True:
                        os.write(descriptor, block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        (self.path / FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)
        self._image.unlink(missing_ok=True)


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
