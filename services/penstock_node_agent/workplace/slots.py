"""Where does an attempt run, and where does its output go?

A slot is a work directory and two spool files. As long as nobody writes to it, it is used by one
attempt after another: making and deleting all three for each short job would cost more than running
it. It does not know when a slot is free.
"""

from __future__ import annotations

from contextlib import suppress

from penstock_node_agent.reaper.disk import Disk

STREAMS = ("stdout", "stderr")
_SUFFIX = {"stdout": "out", "stderr": "err"}
_STREAM_OF = {suffix: stream for stream, suffix in _SUFFIX.items()}


class Slots:
    def __init__(self, disk: Disk, state_dir: str) -> None:
        self._disk = disk
        self._work = f"{state_dir}/work"
        self.spool_dir = f"{state_dir}/spool"
        self._made: set[int] = set()
        for directory in (self._work, self.spool_dir):
            disk.make_directory(directory)

    def make(self, slot: int) -> None:
        """See that the work directory is there; when it cannot be, the spawn will fail and say
        why."""
        if slot not in self._made:
            with suppress(OSError):
                self._disk.make_directory(self.work(slot))
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
        """Empty the slot, or have it gone unless it was `silent`; False when its directory holds
        something, which `clear_slowly` removes."""
        try:
            if silent:
                return self._disk.is_pristine(self.work(slot))
            self._made.discard(slot)
            for stream in STREAMS:
                self._disk.remove(self.spool(slot, stream))
            self._disk.remove_directory(self.work(slot))
        except OSError:
            return False
        return True

    def found(self) -> tuple[int, ...]:
        """Every slot of which there is something on the disk."""
        names = [*self._disk.names(self._work), *self._disk.names(self.spool_dir)]
        numbers = (name.partition(".")[0] for name in names)
        return tuple(sorted({int(number) for number in numbers if number.isdigit()}))

    def size(self, slot: int, stream: str) -> int:
        return self._disk.size(self.spool(slot, stream))

    def clear_slowly(self, slot: int, *, silent: bool) -> None:
        """`clear`, as long as it may take; the files too may be another user's."""
        for stream in STREAMS:
            self._disk.remove(self.spool(slot, stream))
        self._disk.remove_tree(self.work(slot))
        if silent:
            self._disk.make_directory(self.work(slot))
