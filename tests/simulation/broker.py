"""What does an observer at the broker see?

The in-memory broker of a world, which writes down every journal entry, fact, log chunk and cursor
when it is stored, before any purge. It does not judge them.
"""

from __future__ import annotations

import re

from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.memory_stream import MemoryStream
from penstock_bus.port import StoredMessage
from tests.checkers.history import History
from tests.checkers.observation import note
from tests.simulation.kernel import Kernel

_JOB_ID = re.compile(rb'"job_id":"([0-9A-Z]{26})"')


class ObservedBroker(MemoryBroker):
    """Fills `history` as messages are stored."""

    def __init__(self, kernel: Kernel, history: History, *, sync_always: bool) -> None:
        super().__init__(lambda: kernel.now_ns, rng=kernel.rng, sync_always=sync_always)
        self._history = history
        self.requests: dict[str, int] = {}
        """Job id → sequence of the first request that is stored about it."""

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
            note(self._history, stream, message, self.clock())
