"""How does the reaper talk with the agent?

JSON lines over a Unix socket in the state directory; one agent at a time, a new one replaces the
old. Nothing here blocks. It does not know what the lines mean.
"""

from __future__ import annotations

import json
import os
import select
import socket
from typing import Any

LINE_BYTES_MAX = 8 << 20
UNSENT_BYTES_MAX = 64 << 20
"""An agent that takes nothing for so long is dropped; it asks for everything when it comes back."""
READ_BYTES = 1 << 20
WAKEUP_BYTES = 64 * 1024
SOCKET_NAME = "reaper.sock"


def socket_path(directory_fd: int) -> str:
    """The socket through an open directory: a socket's own path may have 107 bytes only."""
    return f"/proc/self/fd/{directory_fd}/{SOCKET_NAME}"


class Channel:
    """`ended_fd`: readable when something has ended that is no child."""

    def __init__(self, directory_fd: int, wakeup_fd: int, ended_fd: int) -> None:
        path = socket_path(directory_fd)
        if os.path.lexists(path):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(4)
        self._wakeup_fd, self._ended_fd = wakeup_fd, ended_fd
        self._agent: socket.socket | None = None
        self._unread = b""
        self._unsent = b""
        self._ready: set[int] = set()
        self.accepting = True

    def wait(self, timeout_ms: int | None) -> None:
        """Sleep until a signal, the agent or the time-out; consume wake-ups, note what is there."""
        poll = select.poll()
        poll.register(self._wakeup_fd, select.POLLIN)
        poll.register(self._ended_fd, select.POLLIN)
        if self.accepting:
            poll.register(self._listener, select.POLLIN)
        if self._agent is not None:
            poll.register(self._agent, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        self._ready = {fd for fd, _ in poll.poll(timeout_ms)}
        if self._wakeup_fd in self._ready:
            os.read(self._wakeup_fd, WAKEUP_BYTES)

    def accept(self) -> bool:
        """Take a new agent, if one is there."""
        if self._listener.fileno() not in self._ready:
            return False
        try:
            agent, _ = self._listener.accept()
        except OSError:  # it left again, or there are no descriptors just now
            return False
        self._drop()
        agent.setblocking(False)
        self._agent = agent
        return True

    def read(self) -> list[dict[str, Any]]:
        """Every complete request that has arrived."""
        if self._agent is None or self._agent.fileno() not in self._ready:
            return []
        try:
            data = self._agent.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._drop()
            return []
        *lines, self._unread = (self._unread + data).split(b"\n")
        try:
            if len(self._unread) > LINE_BYTES_MAX:
                raise ValueError("line too long")
            return [json.loads(line) for line in lines]
        except ValueError:
            self._drop()
            return []

    def send(self, data: bytes = b"") -> None:
        """Send what fits now and keep the rest for when the agent takes it."""
        if self._agent is None:
            return
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[self._agent.send(self._unsent) :]
        except BlockingIOError:
            if len(self._unsent) > UNSENT_BYTES_MAX:
                self._drop()
        except OSError:
            self._drop()

    def close(self) -> None:
        if self._agent is not None:
            self._agent.settimeout(1.0)
            self.send()
        self._drop()
        self._listener.close()

    def _drop(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent, self._unread, self._unsent = None, b"", b""
