"""What does the reaper do, turn by turn?

Requests in, processes out; endings in, lines out. One thread, no blocking call but `Channel.wait`.
Disk, processes, channel and clock are given, and may be simulated ones.

Requests: {"op": "spawn", key, argv, env, cwd, out, err, grace_s, limit_s, disconnect_s,
contact_ns, memo, and where wanted: slot, user, rlimits, memory_mib, pids_max, cpu_milli,
private_tmp, paid_ms}, {"op": "stop", key, reason, grace_s, signal}, {"op": "forget", keys}, {"op":
"renew", at_ns}, {"op": "paid", key, paid_ms}, {"op": "mark"}, {"op": "leave"}. A spawn whose key is
known changes nothing. Events are the lines of `records`; on connect all that is remembered, then
["ready", boot_id, pid, keys, abilities]; to a mark ["marked", "", at_ns]. It does not know why
anything is asked.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

from penstock_node_agent.reaper.attempts import SECOND_NS, Attempt, End, attempt_of, mark_line
from penstock_node_agent.reaper.channel import Channel
from penstock_node_agent.reaper.clearing import Clearing
from penstock_node_agent.reaper.contained import Contained
from penstock_node_agent.reaper.containers import Containers
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.processes import Exit, Processes
from penstock_node_agent.reaper.records import Records
from penstock_node_agent.reaper.stopping import Stopping

TICK_MS = 1000
"""A time-out does not count while the host is suspended; what is due is due all the same."""
CLEARING_TICK_MS = 20
STOP_GRACE_S_MAX = 5.0
SPAWNS_PER_TURN = 8
"""A long row of spawns must not delay what else there is to do and tell."""
MESSAGE_CHARACTERS_MAX = 500


class Reaper:
    """`directory`: the state directory, part of what its processes are marked with. `complain`
    takes a line that no agent will hear. `abilities`: told to every agent."""

    def __init__(
        self,
        directory: str,
        boot_id: str,
        *,
        disk: Disk,
        processes: Processes,
        containers: Containers,
        channel: Channel,
        boottime_ns: Callable[[], int],
        complain: Callable[[str], object],
        abilities: dict[str, Any] | None = None,
        tick_ms: int = TICK_MS,
    ) -> None:
        self._directory, self._boot_id = directory, boot_id
        self._disk, self._processes, self._channel = disk, processes, channel
        self._boottime_ns, self._complain = boottime_ns, complain
        self._abilities, self._tick_ms = abilities or {}, tick_ms
        self._records = Records(disk, directory, boot_id, complain)
        self._attempts = self._records.attempts
        self._mains: dict[int, Attempt] = {}
        self._stopping = Stopping(self._records, containers, processes, self._mains)
        self._clearing = Clearing(
            directory,
            records=self._records,
            mains=self._mains,
            disk=disk,
            processes=processes,
            containers=containers,
            boottime_ns=boottime_ns,
        )
        self._contained = Contained(
            containers,
            records=self._records,
            clearing=self._clearing,
            mains=self._mains,
            boottime_ns=boottime_ns,
            watch=self._watch,
            stop=self._stop,
        )
        self._orders: list[tuple[dict[str, Any], Attempt]] = []
        self._noted: list[tuple[dict[str, Any], Attempt]] = []
        self._due_ns: int | None = None
        self._leaving = self._marking = self._idle = False
        self._clearing.take_over(self._contained.take_over(processes.everything()))
        self._channel.accepting = self._clearing.taken_over and self._contained.taken_over

    def leave(self) -> None:
        """Stop all work, then end."""
        self._leaving = True

    def run(self) -> None:
        while True:
            self._channel.wait(self.timeout_ms())
            if not self.turn():
                return

    def turn(self) -> bool:
        """Everything that is to be done now; False when it has left."""
        begun_ns = self._boottime_ns()
        for request in self._channel.read():
            try:
                self._obey(request)
            except (KeyError, TypeError, ValueError) as error:  # nothing may end the reaper
                self._complain(f"a request that cannot be obeyed: {error!r}\n")
        if self._channel.accept():
            self._channel.send(self._all_known())
        if self._leaving:
            for attempt in list(self._mains.values()):
                self._stop(attempt, "stopped", min(attempt.grace_s, STOP_GRACE_S_MAX))
            self._contained.cancel_all("stopped")
        self._spawn()
        self._wait()
        self._contained.turn()
        self._enforce()
        self._clearing.turn()
        self._channel.accepting = self._clearing.taken_over and self._contained.taken_over
        self._channel.send(self._records.commit())
        self._stopping.noted()
        was_idle, self._idle = self._idle, not (self._has_work() or self._clearing.waiting)
        if was_idle and self._idle:
            self._processes.tidy()
        if self._marking and not self._records.waiting:
            self._marking = False
            at_ns = min(begun_ns, self._contained.told_until_ns(begun_ns))
            self._channel.send(mark_line(at_ns, self._clearing.waiting.values()))
        if self._leaving and not self._has_work():
            self._channel.close()
            return False
        return True

    def _has_work(self) -> bool:
        """Before it may leave."""
        own = self._mains or self._orders or self._clearing.untold
        return bool(own) or self._contained.busy

    def timeout_ms(self) -> int | None:
        """How long to wait for something to do at most; None: until it comes."""
        mine, theirs = self._own_timeout_ms(), self._contained.timeout_ms()
        return mine if theirs is None else theirs if mine is None else min(mine, theirs)

    def _own_timeout_ms(self) -> int | None:
        if self._orders:
            return 0
        if self._clearing.urgent:
            return CLEARING_TICK_MS
        if self._mains or self._clearing.waiting or self._records.waiting:
            if self._due_ns is None:
                return self._tick_ms
            return max(1, min(self._tick_ms, (self._due_ns - self._boottime_ns()) // 1_000_000 + 1))
        return self._tick_ms if self._processes.untidy else None

    # -- requests ----------------------------------------------------------------------------------
    def _obey(self, request: dict[str, Any]) -> None:
        op = request["op"]
        if op == "spawn":
            self._orders.append((request, attempt_of(request, self._boottime_ns())))
        elif op == "stop":
            attempt = self._attempts.get(request["key"])
            if attempt is not None and attempt.pid:
                self._stop(attempt, request["reason"], request["grace_s"], request.get("signal"))
            else:
                self._cancel_order(request)
        elif op == "forget":
            for key in request["keys"]:
                attempt = self._attempts.get(key)
                if attempt is not None and attempt.gone:
                    del self._attempts[key]
                    self._records.add(["forget", key])
        elif op == "renew":
            self._renew(request["at_ns"], self._boottime_ns())
        elif op == "paid":
            self._pay(request["key"], request["paid_ms"])
        elif op == "mark":
            self._marking = True
        elif op == "leave":
            self._leaving = True

    def _cancel_order(self, stop: dict[str, Any]) -> None:
        """A stop that overtakes a spawn still in line: it ends without having run."""
        for order, _ in (*self._orders, *self._noted):
            if order["key"] == stop["key"]:
                order["refused"] = stop["reason"]
        self._contained.cancel(stop["key"], stop["reason"])

    def _renew(self, at_ns: int, now_ns: int) -> None:
        waiting = (attempt for _, attempt in (*self._orders, *self._noted))
        for attempt in (*self._mains.values(), *waiting):
            attempt.renew(at_ns, now_ns)
        self._contained.renew(at_ns, now_ns)

    def _pay(self, key: str, paid_ms: int) -> None:
        ordered = {attempt.key: attempt for _, attempt in self._orders}
        attempt = self._attempts.get(key) or ordered.get(key)
        if attempt is not None and attempt.pay(paid_ms) and attempt.container is not None:
            self._records.add(["paid", key, paid_ms])

    def _all_known(self) -> bytes:
        lines = [line for attempt in self._attempts.values() for line in attempt.story()]
        ready = ["ready", self._boot_id, self._processes.pid, list(self._attempts)]
        lines.append([*ready, self._abilities])
        return "".join(json.dumps(line) + "\n" for line in lines).encode()

    # -- spawning ----------------------------------------------------------------------------------
    def _spawn(self) -> None:
        """Nothing is started before the log names it, for a reaper that takes over would neither
        find it nor refuse to start it again: while the disk refuses, orders wait."""
        if not (self._orders or self._noted):
            return
        for order, attempt in self._orders[:SPAWNS_PER_TURN]:
            if attempt.key not in self._attempts:
                self._attempts[attempt.key] = attempt
                self._noted.append((order, attempt))
                self._records.add(attempt.order_line())
        del self._orders[:SPAWNS_PER_TURN]
        self._channel.send(self._records.commit())
        if self._records.waiting:
            return
        noted, self._noted = self._noted, []
        for order, attempt in noted:
            self._spawn_one(order, attempt)
            self._wait()  # stamp what has ended meanwhile

    def _spawn_one(self, order: dict[str, Any], attempt: Attempt) -> None:
        refused, message = "stopped" if self._leaving else "", ""
        refused = order.get("refused") or refused or attempt.refusal(self._boottime_ns())
        if not refused:
            try:
                if attempt.container is not None:
                    self._contained.start(attempt, order)
                    return
                pid = self._processes.spawn(order, f"{self._directory}:{attempt.key}")
            except (OSError, ValueError, TypeError) as error:
                refused, message = "spawn_failed", str(error)[:MESSAGE_CHARACTERS_MAX]
        now = self._boottime_ns()
        if refused:
            attempt.end = End(now, None, None, refused, message)
            self._clearing.tell_end(attempt, now)
            return
        attempt.begin(now, pid)
        self._mains[pid] = attempt
        self._watch(attempt)
        self._records.add(["began", attempt.key, now, pid])

    # -- ending ------------------------------------------------------------------------------------
    def _watch(self, attempt: Attempt) -> None:
        due = attempt.due_ns()
        if due is not None and (self._due_ns is None or due < self._due_ns):
            self._due_ns = due

    def _stop(self, attempt: Attempt, reason: str, grace_s: float, by: str | None = "") -> None:
        if attempt.main not in self._mains:
            return
        kill_ns = self._boottime_ns() + int(grace_s * SECOND_NS)
        if attempt.kill_ns is None:
            attempt.reason = reason
            self._stopping.ask(attempt, by)
        attempt.kill_ns = min(kill_ns, attempt.kill_ns or kill_ns)
        self._watch(attempt)

    def _enforce(self) -> None:
        now = self._boottime_ns()
        if self._due_ns is None or now < self._due_ns:
            return
        self._due_ns = None
        for attempt in list(self._mains.values()):
            due = attempt.due_ns()
            if due is not None and due <= now:
                if self._stopping.is_asked(attempt):
                    pass
                elif attempt.kill_ns is not None:
                    self._stopping.signal(attempt, signal.SIGKILL)
                    attempt.killed(now)
                else:
                    self._stop(attempt, *attempt.why_due(now))
            self._watch(attempt)

    def _wait(self) -> None:
        """Take every exit status there is; a finished attempt's group dies while its pid is
        held."""
        while (exit := self._processes.next_exit()) is not None:
            attempt = self._mains.pop(exit.pid, None)
            if attempt is not None:
                now = self._boottime_ns()
                self._processes.kill_group(attempt.pid, signal.SIGKILL)
                self._clearing.begin(attempt, self._end_of(attempt, exit, now))
            else:
                self._contained.containers.took(exit)
            self._processes.reap(exit.pid)

    def _end_of(self, attempt: Attempt, exit: Exit, now_ns: int) -> End:
        reason, message = self._processes.verdict(exit.pid, attempt.slot, exit)
        if reason == "spawn_failed":
            return End(now_ns, None, None, reason, message[:MESSAGE_CHARACTERS_MAX])
        reason = attempt.reason or reason or ("signalled" if exit.code is None else "exited")
        return End(now_ns, exit.code, exit.signal, reason, message)
