"""What must survive this reaper's death?

`reaper.log`: one JSON list a line, appended and synced once per turn, rewritten when large.
["boot", boot_id] · ["order", key, at_ns, out, err, memo, container?] (about to spawn) · ["began",
key, at_ns, pid] · of containers ["contact", key, at_ns], ["paid", key, paid_ms] and ["stopping",
key, reason, message, signal?] · ["ended", key, at_ns, code, signal, reason, message, out_bytes,
err_bytes, gone_ns or null] · ["gone", key, at_ns], only where `ended` could not say it ·
["forget", key]. It does not know what happens to lines after that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from penstock_node_agent.reaper.attempts import Attempt, fold
from penstock_node_agent.reaper.disk import Disk

LOG_NAME = "reaper.log"
LOG_BYTES_MAX = 4 << 20


class Records:
    """The attempts that are remembered, and the log they fold from. `complain` takes a line about
    what the disk refused."""

    def __init__(
        self, disk: Disk, directory: str, boot_id: str, complain: Callable[[str], object]
    ) -> None:
        self._disk, self._complain = disk, complain
        self._directory = directory
        self._path = f"{directory}/{LOG_NAME}"
        self._boot_id = boot_id
        self._lines: list[str] = []
        self._must_sync = False
        self._file = -1
        self._bytes = 0
        before, self.attempts = read_log(disk, directory)
        self.same_boot = before == boot_id
        self._rewrite()

    def add(self, line: list[Any], *, durable: bool = False) -> None:
        """`durable` lines reach the disk before `commit` returns them."""
        self._lines.append(json.dumps(line))
        self._must_sync |= durable

    def commit(self) -> bytes:
        """Write what was added and return it; nothing when there is nothing, or when the disk
        refuses: what could not be kept is not told, and is tried again at the next commit."""
        if not self._lines:
            return b""
        data = ("\n".join(self._lines) + "\n").encode()
        try:
            if self._bytes > LOG_BYTES_MAX:
                self._rewrite()
            self._disk.append(self._file, data)
            if self._must_sync:
                self._disk.sync(self._file)
        except OSError as error:
            self._complain(f"cannot write reaper.log: {error}\n")
            self._disk.cut(self._file, self._bytes)
            return b""
        self._bytes += len(data)
        self._lines.clear()
        self._must_sync = False
        return data

    @property
    def waiting(self) -> bool:
        """Whether a commit is owed."""
        return bool(self._lines)

    def _rewrite(self) -> None:
        """Replace the log by what is still remembered."""
        lines: list[list[Any]] = [["boot", self._boot_id]]
        for attempt in self.attempts.values():
            lines += attempt.story()
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        part = self._path + ".new"
        file = self._disk.create(part)
        try:
            self._disk.append(file, data)
            self._disk.sync(file)
            self._disk.rename(part, self._path)
        except OSError:
            self._disk.close(file)
            raise
        if self._file >= 0:
            self._disk.close(self._file)
        self._file, self._bytes = file, len(data)
        self._disk.sync_directory(self._directory)


def read_log(disk: Disk, directory: str) -> tuple[str, dict[str, Attempt]]:
    """Whose boot the log is of, and what it remembers."""
    boot_id = ""
    attempts: dict[str, Attempt] = {}
    for text in (disk.read(f"{directory}/{LOG_NAME}") or b"").split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the torn end that a power loss leaves
        if line[0] == "boot":
            boot_id = line[1]
        else:
            fold(attempts, line)
    return boot_id, attempts
