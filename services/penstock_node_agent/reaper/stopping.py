"""How does work hear that it shall end?

Of a container the log says why before it hears of it: one outlives its reaper, and the next reaper
would otherwise take its end for its own doing. It does not know when or why work must end.
"""

from __future__ import annotations

import signal
from typing import Any

from penstock_node_agent.reaper.attempts import Attempt
from penstock_node_agent.reaper.containers import Containers
from penstock_node_agent.reaper.processes import Processes
from penstock_node_agent.reaper.records import Records

NOTICES = {name: int(signal.Signals[name]) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")}
"""What work may ask to be told by; any other word is as none."""


class Stopping:
    """`mains`: attempts that run."""

    def __init__(
        self,
        records: Records,
        containers: Containers,
        processes: Processes,
        mains: dict[int, Attempt],
    ) -> None:
        self._records, self._mains = records, mains
        self._containers, self._processes = containers, processes
        self._asked: list[Attempt] = []

    def ask(self, attempt: Attempt, by: str | None) -> None:
        """By that signal, "" = SIGTERM, or as it was asked before; at the end of this turn when it
        is in a container."""
        if by:
            attempt.notice = NOTICES.get(by, signal.SIGTERM)
        told = attempt.container
        if told is None:
            self._terminate(attempt)
            return
        if "stopping" not in told:
            why: list[Any] = [attempt.reason, attempt.message]
            told["stopping"] = why if attempt.notice == signal.SIGTERM else [*why, attempt.notice]
            self._records.add(["stopping", attempt.key, *told["stopping"]])
        self._asked.append(attempt)

    def is_asked(self, attempt: Attempt) -> bool:
        """Whether it will hear of it only at the end of this turn."""
        return attempt in self._asked

    def noted(self) -> None:
        """What the log was to say it says, or the disk has refused it: that stops nobody."""
        for attempt in self._asked:
            if attempt.main in self._mains:
                self._terminate(attempt)
        self._asked.clear()

    def signal(self, attempt: Attempt, number: int) -> None:
        if attempt.container is None:
            self._processes.kill_group(attempt.pid, number)
        else:
            self._containers.signal(attempt.key, number)

    def _terminate(self, attempt: Attempt) -> None:
        """Also what stands still."""
        self.signal(attempt, attempt.notice)
        self.signal(attempt, signal.SIGCONT)
