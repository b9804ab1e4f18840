"""How do attempts in containers go through the reaper's turn?

Begun, ended and removed when podman's commands have ended, not when they are called; taken over,
not lost, from a reaper that died. It does not know how podman is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock_node_agent.reaper.attempts import Attempt, End
from penstock_node_agent.reaper.clearing import CLEARING_NS_MAX, Clearing
from penstock_node_agent.reaper.container_life import DEVICE_FAILED, LOST
from penstock_node_agent.reaper.containers import Containers
from penstock_node_agent.reaper.happenings import Away, Begun, Detached, Over, Stray
from penstock_node_agent.reaper.records import Records

CONTACTS_PER_LEASE = 8
"""How often contact is noted, so that a reaper that takes over does not think it long lost."""
DETACHED = "its devices were taken away from the running container, by the host and not by the job"


class Contained:
    """`mains`: attempts that run; these stand under a number that no process has. `watch`: has
    what is due to an attempt done in time. `stop`: ends an attempt, for a reason."""

    def __init__(
        self,
        containers: Containers,
        *,
        records: Records,
        clearing: Clearing,
        mains: dict[int, Attempt],
        boottime_ns: Callable[[], int],
        watch: Callable[[Attempt], None],
        stop: Callable[[Attempt, str, float], None],
    ) -> None:
        self.containers = containers
        self._records, self._clearing, self._mains = records, clearing, mains
        self._boottime_ns, self._watch, self._stop = boottime_ns, watch, stop
        self._starting: dict[str, Attempt] = {}
        self._adopting: dict[str, Attempt] = {}
        self._to_clear: dict[str, dict[str, Any]] = {}

    def take_over(self, pids: list[int]) -> set[str]:
        """What runs is not lost, for podman knows how it ends: returns the keys of those that are
        asked after. `pids`: every process of the host."""
        for attempt in self._records.attempts.values():
            if attempt.container is None or attempt.gone or not self._records.same_boot:
                continue
            if attempt.pid and attempt.ended is None:
                attempt.remember()
                self.containers.adopt(attempt.key, attempt.container)
                self._adopting[attempt.key] = attempt
            else:
                attempt.held = True
                self._to_clear[attempt.key] = attempt.container
        self.containers.survey(pids)
        return set(self._adopting)

    @property
    def taken_over(self) -> bool:
        """Whether it is known of all of them how they are."""
        return not self._adopting and self.containers.surveyed

    @property
    def busy(self) -> bool:
        """Whether something is to be awaited before the reaper leaves."""
        if self._starting or self._adopting:
            return True
        now = self._boottime_ns()
        waiting = self._clearing.waiting.values()
        return any(one.held and now - one.clear_ns < CLEARING_NS_MAX for one in waiting)

    def start(self, attempt: Attempt, order: dict[str, Any]) -> None:
        """Raises ValueError, KeyError, TypeError."""
        self.containers.start(attempt.key, order)
        self._starting[attempt.key] = attempt

    def cancel(self, key: str, reason: str) -> None:
        """What is about to begin shall not."""
        attempt = self._starting.get(key)
        if attempt is not None and not attempt.reason:
            attempt.reason = reason
            self.containers.cancel(key)

    def cancel_all(self, reason: str) -> None:
        for key in list(self._starting):
            self.cancel(key, reason)

    def renew(self, at_ns: int, now_ns: int) -> None:
        """Contact, for those too that are about to begin; noted now and then."""
        for attempt in self._starting.values():
            attempt.renew(at_ns, now_ns)
        for attempt in self._mains.values():
            told = attempt.container
            if told is None or attempt.disconnect_s is None:
                continue
            step_ns = int(attempt.disconnect_s * 1_000_000_000) // CONTACTS_PER_LEASE
            if attempt.contact_ns >= told["contact_ns"] + step_ns:
                told["contact_ns"] = attempt.contact_ns
                self._records.add(["contact", attempt.key, attempt.contact_ns])

    def told_until_ns(self, now_ns: int) -> int:
        """Up to when every end has been told: how one ended may still have to be asked."""
        return self.containers.ending_ns() or now_ns

    def timeout_ms(self) -> int | None:
        if self._to_clear and not self._records.waiting:
            return 0
        return self.containers.timeout_ms()

    def turn(self) -> None:
        """What is told is on the disk before a container is removed that alone knows it."""
        if self._to_clear and not self._records.waiting:
            to_clear, self._to_clear = self._to_clear, {}
            for key, told in to_clear.items():
                self.containers.clear(key, told)
        for happening in self.containers.turn():
            if isinstance(happening, Begun):
                self._begun(happening)
            elif isinstance(happening, Over):
                self._over(happening)
            elif isinstance(happening, Away):
                attempt = self._clearing.waiting.get(happening.key)
                if attempt is not None:
                    attempt.held = False
            elif isinstance(happening, Detached):
                self._detached(happening.key)
            else:
                self._stray(happening)

    def _begun(self, begun: Begun) -> None:
        attempt = self._adopting.pop(begun.key, None)
        if attempt is None:
            attempt = self._starting.pop(begun.key)
            attempt.begin(self._boottime_ns(), begun.pid)
            self._records.add(["began", attempt.key, attempt.began_ns, attempt.pid])
        self._mains[attempt.main] = attempt
        self._watch(attempt)
        if attempt.reason:  # it was to be stopped before it had begun
            self._stop(attempt, attempt.reason, attempt.grace_s)

    def _over(self, over: Over) -> None:
        attempt = self._starting.pop(over.key, None) or self._adopting.pop(over.key, None)
        attempt = attempt or self._records.attempts[over.key]
        self._mains.pop(attempt.main, None)
        now = self._boottime_ns()
        at_ns = now - over.ago_ns if over.at_ns is None else over.at_ns
        reason, message = over.reason, over.message
        if attempt.reason:
            reason, message = attempt.reason, attempt.message
        elif not reason:
            reason = "signalled" if over.code is None else "exited"
        if reason == LOST and over.begun:
            at_ns = attempt.began_ns
        at_ns = max(attempt.began_ns, min(at_ns, now))
        end = End(at_ns, over.code, over.signal, reason, message)
        self._end(attempt, end, tell=over.begun)

    def _detached(self, key: str) -> None:
        attempt = self._records.attempts[key]
        if not attempt.reason:
            attempt.message = DETACHED
            self._stop(attempt, DEVICE_FAILED, attempt.grace_s)

    def _stray(self, stray: Stray) -> None:
        """A container of this state directory. Unless it is known what becomes of it, it goes."""
        attempt = self._records.attempts.get(stray.key)
        if attempt is None:  # the log is gone
            attempt = Attempt(stray.key, self._boottime_ns(), "", "", "", stray.told)
            self._records.attempts[stray.key] = attempt
            self._records.add(attempt.order_line())
            end = End(attempt.began_ns, None, None, LOST, "the reaper died")
            self._end(attempt, end, tell=False)
        elif attempt.gone:
            self._to_clear[stray.key] = stray.told

    def _end(self, attempt: Attempt, end: End, *, tell: bool) -> None:
        """What only its container knows is told at once, so that it is on the disk before that is
        removed; anything else when nothing of it can write any more."""
        attempt.held = True
        self._clearing.begin(attempt, end)
        attempt.clear_ns = self._boottime_ns()
        if tell:
            self._clearing.tell_end(attempt, None)
        if attempt.container is not None:
            self._to_clear[attempt.key] = attempt.container
