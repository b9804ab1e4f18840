"""What must survive this reaper's death?

`reaper.log`: one JSON list a line, appended and synced once per turn, rewritten when large.
["boot", boot_id]                 ["order", key, at_ns, out, err]  (about to spawn) ["began", key,
at_ns, pid]        ["ended", key, at_ns, code, signal, reason, message, ["gone", key, at_ns]
out_bytes, err_bytes, gone_ns or null] ["forget", key] `gone` stands only where `ended` could not
say it. It does not know what happens to lines after that.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from penstock_node_agent.reaper.attempts import Attempt, fold

LOG_BYTES_MAX = 4 << 20


class Records:
    """The attempts that are remembered, and the log they fold from."""

    def __init__(self, directory: str, boot_id: str) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.same_boot = False
        self._path = f"{directory}/reaper.log"
        self._boot_id = boot_id
        self._lines: list[str] = []
        self._must_sync = False
        self._fd = -1
        self._read()
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
            _write_all(self._fd, data)
            if self._must_sync:
                os.fdatasync(self._fd)
        except OSError as error:
            sys.stderr.write(f"cannot write reaper.log: {error}\n")
            os.ftruncate(self._fd, self._bytes)
            return b""
        self._bytes += len(data)
        self._lines.clear()
        self._must_sync = False
        return data

    @property
    def waiting(self) -> bool:
        """Whether a commit is owed."""
        return bool(self._lines)

    def _read(self) -> None:
        boot_id = ""
        if not os.path.exists(self._path):
            return
        with open(self._path, encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue  # the torn end that a power loss leaves
                if line[0] == "boot":
                    boot_id = line[1]
                else:
                    fold(self.attempts, line)
        self.same_boot = boot_id == self._boot_id

    def _rewrite(self) -> None:
        """Replace the log by what is still remembered."""
        lines: list[list[Any]] = [["boot", self._boot_id]]
        for attempt in self.attempts.values():
            lines += attempt.story()
        part = self._path + ".new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(part, flags, 0o600)
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        _write_all(fd, data)
        os.fdatasync(fd)
        os.rename(part, self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._bytes = fd, len(data)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
