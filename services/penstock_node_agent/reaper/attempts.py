"""What does the reaper know about one attempt, and when is something due to it?

It does not know how processes are spawned, waited for or killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

SECOND_NS = 1_000_000_000
KEPT_OF_CONTAINERS = ("grace_s", "limit_s", "disconnect_s", "contact_ns")
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
    needs that takes over. `held`: its container is not removed yet.
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
        "old",
        "out",
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
        self.reason = self.message = ""
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
        self.reason, self.message = told.get("stopping", ("", ""))
        self.begin(self.began_ns, self.pid)

    def refusal(self, now_ns: int) -> str:
        """Why it must not be started any more: an order may have lain unread beyond its lease."""
        due = self.due_ns()
        return "disconnected" if due is not None and due <= now_ns else ""

    def renew(self, at_ns: int, now_ns: int) -> None:
        """Contact as of `at_ns`. What is past its lease already stays so: it may have been given
        up."""
        if not self.refusal(now_ns):
            self.contact_ns = max(self.contact_ns, min(at_ns, now_ns))

    def due_ns(self) -> int | None:
        """When to act next: SIGKILL, or SIGTERM for the time limit or `grace` before the lease's
        end."""
        if self.kill_ns is not None:
            return self.kill_ns
        due = self.limit_ns
        if self.disconnect_s is not None:
            lead_s = self.disconnect_s - self.lease_grace_s
            lease_ns = self.contact_ns + int(lead_s * SECOND_NS)
            due = lease_ns if due is None else min(due, lease_ns)
        return due

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
    if "container" in order:
        attempt.container = {
            "name": order["container"]["name"],
            "podman": order["container"]["podman"],
            "labels": order["container"]["labels"],
            "devices": bool(order["container"].get("devices")),
            **{name: order[name] for name in KEPT_OF_CONTAINERS},
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
