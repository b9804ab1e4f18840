"""What does an observer at the broker see?

The in-memory broker of a world, which writes down every journal entry, fact, log chunk and cursor
when it is stored, before any purge. It does not judge them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock_bus.memory_broker import ERROR_NO_STORAGE, MemoryBroker
from penstock_bus.memory_stream import MemoryStream
from penstock_bus.port import Appended, BusRefusal, StoredMessage
from tests.checkers.history import History
from tests.checkers.observation import note
from tests.simulation.kernel import Kernel

_JOB_ID = re.compile(rb'"job_id":"([0-9A-Z]{26})"')


class ObservedBroker(MemoryBroker):
    """Fills `history` as messages are stored. `keys`: of clients that have joined; who has one that
    is `revoked` is cut off. `refusing`: streams that take nothing now, as when
    their own limit is reached."""

    def __init__(self, kernel: Kernel, history: History, *, sync_always: bool) -> None:
        super().__init__(lambda: kernel.now_ns, rng=kernel.rng, sync_always=sync_always)
        self.history = history
        self.keys: dict[str, str] = {}
        self._revoked: set[str] = set()
        self.refusing: set[str] = set()
        self.requests: dict[str, int] = {}
        """Job id → sequence of the first request that is stored about it."""

    @property
    def revoked(self) -> set[str]:
        return self._revoked

    @revoked.setter
    def revoked(self, keys: set[str]) -> None:
        before, self._revoked = self._revoked, keys
        for name, key in self.keys.items():
            if key in keys and key not in before:
                self.partition(name)
            elif key in before and key not in keys:
                self.heal(name)

    def heal(self, name: str) -> None:
        if self.keys.get(name) not in self._revoked:
            super().heal(name)

    def reachable(self, name: str) -> bool:
        return super().reachable(name) and self.keys.get(name) not in self._revoked

    def _append_to(
        self,
        stream: MemoryStream,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None,
    ) -> Appended:
        if stream.config.name in self.refusing:
            raise BusRefusal(ERROR_NO_STORAGE, f"{subject}: maximum bytes exceeded")
        return super()._append_to(stream, subject, payload, headers)

    def stored(self, stream: MemoryStream, seq: int) -> None:
        message = stream.read(seq)
        if message is not None:
            self._note(stream.config.name, message)
        super().stored(stream, seq)

    def _note(self, stream: str, message: StoredMessage) -> None:
        if stream == "REQUESTS" and message.subject.endswith(".submit"):
            for job_id in _JOB_ID.findall(message.payload):
                self.requests.setdefault(job_id.decode(), message.seq)
        else:
            note(self.history, stream, message, self.clock())
