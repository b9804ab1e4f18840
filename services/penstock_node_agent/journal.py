"""What survives the agent's death?

An append-only file of events, one a line behind its checksum; the state is their fold. One write
and one sync per batch. When it has grown, and at every start, it is replaced by one snapshot. A
torn end, as a power loss leaves it, is cut off; a damaged line before the end is an error, never
skipped. It does not know what an event means.
"""

from __future__ import annotations

from zlib import crc32

import msgspec

from penstock_node_agent.core.events import MUST_SYNC, AnyEvent
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State
from penstock_node_agent.reaper.disk import Disk

JOURNAL_NAME = "agent.journal"
COMPACT_BYTES = 16 << 20
"""Beyond this, and twice the last snapshot, a snapshot replaces the events."""

_encoder = msgspec.json.Encoder()
_state_decoder = msgspec.json.Decoder(State)
_event_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


class WrongNode(Exception):
    """The state directory belongs to another node."""


class JournalDamaged(Exception):
    """A line before the end does not match its checksum: the disk has lied. Nothing is guessed."""


class Journal:
    """The file and what is not yet in it. `state` is only changed through `machine.handle`."""

    def __init__(self, disk: Disk, directory: str, node: str) -> None:
        self._disk, self._directory = disk, directory
        self._path = f"{directory}/{JOURNAL_NAME}"
        self.state, kept = read_state(disk, self._path, node)
        if self.state.node != node:
            raise WrongNode(f"{directory} belongs to node {self.state.node}, not {node}")
        self._pending: list[bytes] = []
        self._must_sync = False
        self._synced = True
        self._file = -1
        self._bytes = self._compact_above = 0
        if kept is not None:
            disk.truncate(self._path, kept)
        self.compact()

    def add(self, event: AnyEvent) -> None:
        """Take down an event that was handled; it is written at the next `commit`."""
        self._pending.append(_line(_encoder.encode(event)))
        self._must_sync |= isinstance(event, MUST_SYNC)

    def commit(self, *, sync: bool = False) -> bool:
        """Write what was added, and sync when asked to or when something must not follow before.

        Returns whether all that was ever added is on the disk now. Raises OSError.
        """
        if self._bytes > self._compact_above:
            self.compact()
        data = b"".join(self._pending)
        if data:
            self._disk.append(self._file, data)
            self._synced = False
        if (sync or self._must_sync) and not self._synced:
            self._disk.sync(self._file)
            self._synced = True
        self._bytes += len(data)
        self._pending.clear()
        self._must_sync = False
        return self._synced

    def compact(self) -> None:
        """Replace the file by a snapshot of the state, which holds what is pending."""
        part = f"{self._directory}/agent.new"
        data = _line(_encoder.encode(self.state))
        file = self._disk.create(part)
        self._disk.append(file, data)
        self._disk.sync(file)
        self._disk.rename(part, self._path)
        self._disk.sync_directory(self._directory)
        self.close()
        self._file, self._bytes = file, len(data)
        self._compact_above = max(COMPACT_BYTES, 2 * len(data))
        self._pending.clear()
        self._must_sync = False
        self._synced = True

    def close(self) -> None:
        if self._file >= 0:
            self._disk.close(self._file)
            self._file = -1


def read_state(disk: Disk, path: str, node: str) -> tuple[State, int | None]:
    """The state, and the length to cut the file to when its end is torn."""
    state = State(node=node)
    data = disk.read(path)
    if data is None:
        return state, None
    lines = data.split(b"\n")
    rest = lines.pop()
    good = 0
    for number, line in enumerate(lines):
        body = line[9:]
        if not _intact(line):
            if any(_intact(later) for later in lines[number + 1 :]):
                raise JournalDamaged(f"line {number + 1} of {path}")
            return state, good
        if number == 0:
            state = _state_decoder.decode(body)
        else:
            handle(state, _event_decoder.decode(body))
        good += len(line) + 1
    return state, good if rest else None


def _intact(line: bytes) -> bool:
    return line[:8] == b"%08x" % crc32(line[9:])


def _line(body: bytes) -> bytes:
    return b"%08x %s\n" % (crc32(body), body)
