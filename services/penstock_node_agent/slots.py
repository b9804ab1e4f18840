"""Where does an attempt run, and where does its output go?

A slot is a work directory and two spool files, used by one attempt after another: emptied, never
shared. Making and deleting all three for each short job would cost more than running it. It does
not know when a slot is free.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

STREAMS = ("stdout", "stderr")
_SUFFIX = {"stdout": "out", "stderr": "err"}
_STREAM_OF = {suffix: stream for stream, suffix in _SUFFIX.items()}
_DIRECTORY_MODE = 0o700


class Slots:
    def __init__(self, state_dir: Path) -> None:
        self._work = str(state_dir / "work")
        self.spool_dir = str(state_dir / "spool")
        self._made: set[int] = set()
        for directory in (self._work, self.spool_dir):
            os.makedirs(directory, _DIRECTORY_MODE, exist_ok=True)

    def make(self, slot: int) -> None:
        """See that the work directory is there; when it cannot be, the spawn will fail and say
        why."""
        if slot not in self._made:
            with suppress(OSError):
                os.makedirs(self.work(slot), _DIRECTORY_MODE, exist_ok=True)
                self._made.add(slot)

    def work(self, slot: int) -> str:
        return f"{self._work}/{slot}"

    def spool(self, slot: int, stream: str) -> str:
        return f"{self.spool_dir}/{slot}.{_SUFFIX[stream]}"

    def of_spool(self, name: str) -> tuple[int, str] | None:
        """Which slot and stream a file in the spool directory is of."""
        slot, _, suffix = name.partition(".")
        if suffix not in _STREAM_OF or not slot.isdigit():
            return None
        return int(slot), _STREAM_OF[suffix]

    def clear(self, slot: int, *, silent: bool) -> bool:
        """Empty the slot; False when its directory holds something, which `clear_slowly`
        removes."""
        try:
            for stream in () if silent else STREAMS:
                with suppress(FileNotFoundError):
                    os.truncate(self.spool(slot, stream), 0)
            if os.stat(self.work(slot)).st_mode & 0o7777 != _DIRECTORY_MODE:
                return False
            with os.scandir(self.work(slot)) as entries:
                return next(entries, None) is None
        except OSError:
            return False

    def size(self, slot: int, stream: str) -> int:
        try:
            return os.stat(self.spool(slot, stream)).st_size
        except FileNotFoundError:
            return 0

    def clear_slowly(self, slot: int) -> None:
        """Replace the work directory by an empty one; may take as long as there are files in it."""
        for stream in STREAMS:
            Path(self.spool(slot, stream)).unlink(missing_ok=True)
        path = self.work(slot)
        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
        elif os.path.exists(path):
            _open_up(path)
            shutil.rmtree(path)
        os.makedirs(path, _DIRECTORY_MODE)


def _open_up(path: str) -> None:
    """Give back the rights that a job took away from its own directories."""
    os.chmod(path, _DIRECTORY_MODE)
    for parent, directories, _ in os.walk(path):
        for name in directories:
            child = os.path.join(parent, name)
            if not os.path.islink(child):
                os.chmod(child, _DIRECTORY_MODE)
