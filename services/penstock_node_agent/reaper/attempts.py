"""What does the reaper know about one attempt, and when is something due to it?

It does not know how processes are spawned, waited for or killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from signal import SIGTERM
from typing import Any, NamedTuple

SECOND_NS = 1_000_000_000
PAID_MARGIN_NS = SECOND_NS
"""SIGKILL comes so long before paid time is used up: what holds much memory takes long to end."""
PAID_MARGIN_PARTS = 10
"""Of a short paid time the margin is at most this part."""
KEPT_OF_CONTAINERS = ("grace_s", "limit_s", "disconnect_s", "contact_ns", "paid_ms")
"""What the log says of a container's order, for it outlives the reaper that began it."""


class End(NamedTuple):
    """How the main process ended. Exactly one of `code` and `signal`, or a reason that explains
    neither."""

    at_ns: int
    code: int | None
    signal: int | None
    reason: str
    message: str = ""


class Attempt:
    """One order. `pid` 0 = not spawned. `slot`: where it runs, if that was said. `memo`: what the
    agent wants to find in the log. Instants are CLOCK_BOOTTIME in ns.

    `contact_ns`: the host was heard then, `disconnect_s` counts from there. `kill_ns`: SIGTERM is
    sent, SIGKILL is due then. `ended`: the line that told the end, once told. `gone`: nothing of
    it is left. `old`: taken over from a reaper that died. `container`: its name, and what a reaper
    needs that takes over. `held`: its container is not removed yet. `paid_ms`: it may run for so
    long in all, None = as long as it likes. `notice`: the signal by which it is asked to end.
    """

    __slots__ = (
        "began_ns",
        "clear_ns",
        "contact_ns",
        "container",
        "disconnect_s",
        "end",
        "ended",
        "err",
        "gone",
        "grace_s",
        "held",
        "key",
        "kill_ns",
        "limit_ns",
        "limit_s",
        "memo",
        "message",
        "notice",
        "old",
        "out",
        "paid_ms",
        "pid",
        "reason",
        "slot",
    )

    def __init__(
        self,
        key: str,
        at_ns: int,
        out: str,
        err: str,
        memo: str = "",
        container: dict[str, Any] | None = None,
    ) -> None:
        self.key, self.began_ns, self.out, self.err = key, at_ns, out, err
        self.memo, self.container = memo, container
        self.pid = 0
        self.slot: int | None = None
        self.grace_s = 0.0
        self.limit_s: float | None = None
        self.limit_ns: int | None = None
        self.disconnect_s: float | None = None
        self.contact_ns = at_ns
        self.paid_ms: int | None = None
        self.reason = self.message = ""
        self.notice = int(SIGTERM)
        self.kill_ns: int | None = None
        self.end: End | None = None
        self.clear_ns = 0
        self.ended: list[Any] | None = None
        self.gone = self.old = self.held = False

    @property
    def main(self) -> int:
        """Under which number it runs: its main process's, or one that no process has."""
        return self.pid if self.container is None else -self.pid

    def begin(self, at_ns: int, pid: int) -> None:
        """It has been started."""
        self.began_ns, self.pid = at_ns, pid
        if self.limit_s is not None:
            self.limit_ns = at_ns + int(self.limit_s * SECOND_NS)

    def remember(self) -> None:
        """What the log knows of one in a container, which another reaper has begun."""
        told = self.container or {}
        self.grace_s, self.limit_s = told["grace_s"], told["limit_s"]
        self.disconnect_s, self.contact_ns = told["disconnect_s"], told["contact_ns"]
        self.reason, self.message, *notice = told.get("stopping", ("", ""))
        self.notice = notice[0] if notice else int(SIGTERM)
        self.paid_ms = told.get("paid_ms")
        self.begin(self.began_ns, self.pid)

    def refusal(self, now_ns: int) -> str:
        """Why it must not be started any more: an order may have lain unread beyond its lease."""
        if self.paid_ms == 0:
            return "budget"
        due = self._lease_due_ns()
        return "disconnected" if due is not None and due <= now_ns else ""

    def renew(self, at_ns: int, now_ns: int) -> None:
        """Contact as of `at_ns`. What is past its lease already stays so: it may have been given
        up."""
        due = self.kill_ns or self._lease_due_ns()
        if due is None or due > now_ns:
            self.contact_ns = max(self.contact_ns, min(at_ns, now_ns))

    def pay(self, paid_ms: int) -> bool:
        """More of its time is paid for: whether that is more than was known. What is asked to stop
        for that has been asked."""
        if self.paid_ms is None or paid_ms <= self.paid_ms:
            return False
        self.paid_ms = paid_ms
        if self.container is not None:
            self.container["paid_ms"] = paid_ms
        return True

    def killed(self, now_ns: int) -> None:
        """SIGKILL was sent, and is sent again until it has ended."""
        self.kill_ns, self.paid_ms = now_ns + SECOND_NS, None

    def due_ns(self) -> int | None:
        """When to act next: SIGKILL, or SIGTERM for the time limit or `grace` before the end of the
        lease or of the paid time."""
        dues = (self.kill_ns or self._limit_or_lease_ns(), self.paid_due_ns)
        return min((due for due in dues if due is not None), default=None)

    def why_due(self, now_ns: int) -> tuple[str, float]:
        """Why it is asked to end now, and how long it has for that."""
        if self.limit_ns is not None and self.limit_ns <= now_ns:
            return "time_limit", self.grace_s
        if self.paid_due_ns is not None and self.paid_due_ns <= now_ns:
            return "budget", self.paid_grace_s
        return "disconnected", self.lease_grace_s

    def _limit_or_lease_ns(self) -> int | None:
        dues = (self.limit_ns, self._lease_due_ns())
        return min((due for due in dues if due is not None), default=None)

    def _lease_due_ns(self) -> int | None:
        if self.disconnect_s is None:
            return None
        return self.contact_ns + int((self.disconnect_s - self.lease_grace_s) * SECOND_NS)

    @property
    def paid_due_ns(self) -> int | None:
        """When its paid time makes it end: asked to `grace` before, then whatever it was asked."""
        if self.paid_ms is None or not self.pid:
            return None
        paid_ns = self.paid_ms * 1_000_000
        last_ns = self.began_ns + paid_ns - min(PAID_MARGIN_NS, paid_ns // PAID_MARGIN_PARTS)
        return last_ns if self.kill_ns is not None else last_ns - int(self.paid_grace_s * SECOND_NS)

    @property
    def paid_grace_s(self) -> float:
        """The grace at the end of paid time: a short one is not eaten up by it."""
        return min(self.grace_s, (self.paid_ms or 0) / 2000)

    @property
    def lease_grace_s(self) -> float:
        """The grace at the end of a lease: a short lease is not eaten up by it."""
        return min(self.grace_s, (self.disconnect_s or 0.0) / 2)

    def order_line(self) -> list[Any]:
        line = ["order", self.key, self.began_ns, self.out, self.err, self.memo]
        return line if self.container is None else [*line, self.container]

    def story(self) -> list[list[Any]]:
        """The lines from which this attempt folds again."""
        lines = [self.order_line()]
        if self.pid:
            lines.append(["began", self.key, self.began_ns, self.pid])
        if self.ended is not None:
            lines.append(self.ended)
            if self.gone and self.ended[-1] is None:
                lines.append(["gone", self.key, self.clear_ns])
        return lines


def attempt_of(order: dict[str, Any], at_ns: int) -> Attempt:
    """A spawn request, read at `at_ns`. Its lease counts from the contact that it names, whatever
    was renewed before: contact may have been lost in between."""
    attempt = Attempt(order["key"], at_ns, order["out"], order["err"], order.get("memo", ""))
    attempt.slot = order.get("slot")
    attempt.grace_s, attempt.disconnect_s = order["grace_s"], order["disconnect_s"]
    attempt.contact_ns, attempt.limit_s = order["contact_ns"], order["limit_s"]
    attempt.paid_ms = order.get("paid_ms")
    if "container" in order:
        attempt.container = {
            "name": order["container"]["name"],
            "podman": order["container"]["podman"],
            "labels": order["container"]["labels"],
            "devices": bool(order["container"].get("devices")),
            **{name: order.get(name) for name in KEPT_OF_CONTAINERS},
        }
    return attempt


def fold(attempts: dict[str, Attempt], line: list[Any]) -> None:
    """Apply one line of the log; the only way in which a log becomes attempts."""
    kind, key = line[0], line[1]
    if kind == "order":
        attempts[key] = Attempt(key, *line[2:])
        return
    attempt = attempts.get(key)
    if attempt is None:
        return
    if kind == "began":
        attempt.began_ns, attempt.pid = line[2], line[3]
    elif kind == "contact" and attempt.container is not None:
        attempt.container["contact_ns"] = line[2]
    elif kind == "paid" and attempt.container is not None:
        attempt.container["paid_ms"] = line[2]
    elif kind == "stopping" and attempt.container is not None:
        attempt.container["stopping"] = line[2:]
    elif kind == "ended":
        attempt.ended, attempt.gone = line, line[-1] is not None
    elif kind == "gone":
        attempt.gone, attempt.clear_ns = True, line[2]
    elif kind == "forget":
        del attempts[key]


def mark_line(now_ns: int, clearing: Iterable[Attempt]) -> bytes:
    """The answer to a mark: every end up to this instant has been told. One that waits for what is
    left of its work is told later, with its own, older instant."""
    untold = (a.end.at_ns for a in clearing if a.ended is None and a.end is not None and not a.old)
    return b'["marked", "", %d]\n' % min((now_ns, *untold))
