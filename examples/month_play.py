"""How does the demonstration month go, event by event?

Drives the real core of the scheduler in virtual time with what tenants ask for, what hosts report
and what breaks, and writes the three streams that metering reads. It does not know metering.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from month_fleet import Kind, hosts
from month_hosts import Host, Lease
from month_work import Work

from penstock_bus.port import StoredMessage
from penstock_contracts.journal import GangReady, LeaseGranted, StopRequested
from penstock_contracts.leases import (
    Exited,
    Prepared,
    Preparing,
    Released,
    Rendezvous,
    ReportItem,
    Started,
)
from penstock_contracts.nodes import NodeCordoned, NodeLivenessChanged, NodeUncordoned
from penstock_scheduler.core.events import JobsRequested, NodeChanged, NodeReported, Ticked
from penstock_scheduler.core.machine import SchedulerCore

SECOND_MS = 1_000
QUARTER_MS, HOUR_MS, DAY_MS = 900_000, 3_600_000, 86_400_000
SEND_MS = 6 * HOUR_MS
PREPARE_MS = 35 * SECOND_MS
SETTLE_MS = 2 * SECOND_MS
LOST_AFTER_MS = 30 * SECOND_MS
SUBJECTS = {"JOBS": "penstock.v1.journal.jobs", "NODES": "penstock.v1.journal.nodes"}


class Trouble(NamedTuple):
    """`kind`: `breaks` (a device, until it is repaired), `dies` (a host, until it starts again) or
    `drains` (a host, until it is back in service). In days of the month."""

    kind: str
    host: str
    device: int
    from_day: float
    to_day: float


TROUBLES = (
    Trouble("breaks", "ohm3", 5, 4.4, 28.7),
    Trouble("breaks", "volt2", 1, 11.2, 14.6),
    Trouble("breaks", "lux1", 7, 2.1, 30.9),
    Trouble("dies", "volt5", 0, 8.3, 10.1),
    Trouble("dies", "watt4", 0, 19.6, 19.9),
    Trouble("drains", "ohm7", 0, 15.0, 18.5),
    Trouble("drains", "watt9", 0, 5.3, 6.1),
)


class Play:
    """`streams` hold what was said and is not taken yet; `now_ms` never goes back."""

    def __init__(self, work: list[Work], start_ms: int, days: int) -> None:
        self.start_ms = self.now_ms = start_ms
        self.end_ms = start_ms + days * DAY_MS
        self.core = SchedulerCore()
        self.jobs = {one.spec.job_id: one for one in work}
        self.hosts: dict[str, Host] = {}
        self.streams: dict[str, list[StoredMessage]] = {"NODES": [], "JOBS": [], "USAGE": []}
        self.seqs = {"NODES": 0, "JOBS": 0, "USAGE": 0}
        self.down: set[str] = set()
        self._requests = self._order = 0
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._leases: dict[tuple[str, int, int], tuple[Host, Lease]] = {}
        self._gone: set[tuple[int, str, int]] = set()
        for name, kind in hosts():
            self._join(name, kind)
        for one in work:
            self._at(one.arrives_ms, self._submit, one)
        for trouble in TROUBLES:
            self._plan(trouble)
        for at_ms in range(start_ms + QUARTER_MS, self.end_ms, QUARTER_MS):
            self._at(at_ms, self._quarter)

    def run_until(self, until_ms: int) -> None:
        """Everything before `until_ms`; then all hosts close their accounts and send."""
        while self._events and self._events[0][0] < until_ms:
            self.now_ms, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)
        self.now_ms = until_ms
        self._cut(send=True)

    def take(self) -> dict[str, list[StoredMessage]]:
        taken, self.streams = self.streams, {"NODES": [], "JOBS": [], "USAGE": []}
        return taken

    # -- what happens -----------------------------------------------------------------------------
    def _submit(self, work: Work) -> None:
        self._requests += 1
        self._decide(JobsRequested(work.tenant, self._requests, (work.spec,)))

    def _prepared(self, host: Host, lease: Lease) -> None:
        where = Rendezvous("127.0.0.1", 20_000) if lease.key[2] == 0 else None
        self._report(host, self._item(Prepared, lease, rendezvous=where))

    def _started(self, host: Host, lease: Lease) -> None:
        if lease.key in self._gone or host.name in self.down:
            return
        host.begin(lease, self.now_ms)
        work = self.jobs[lease.key[1]]
        self._report(host, self._item(Started, lease))
        self._at(self.now_ms + work.lasts_ms, self._ended, host, lease, "exited", 0)

    def _ended(self, host: Host, lease: Lease, reason: str, code: int | None) -> None:
        if lease.key in self._gone:
            return
        self._gone.add(lease.key)
        ran = lease.key in host.runs
        segments = host.end(lease, self.now_ms) if ran else 0
        said = {"exit_code": code} if code is not None else {"signal": 15}
        if reason == "device_failed":
            said = {"message": "XID 79: the device has fallen off the bus"}
        self._report(host, self._item(Exited, lease, reason=reason, segments=segments, **said))
        self._at(self.now_ms + SETTLE_MS, self._released, host, lease)

    def _released(self, host: Host, lease: Lease) -> None:
        if host.name not in self.down:
            self._report(host, self._item(Released, lease))

    def _quarter(self) -> None:
        self._cut(send=(self.now_ms - self.start_ms) % SEND_MS == 0)
        self._decide(Ticked({}, self.seqs["JOBS"]))

    # -- what goes wrong --------------------------------------------------------------------------
    def _plan(self, trouble: Trouble) -> None:
        host, uuid = self.hosts[trouble.host], self.hosts[trouble.host].devices[trouble.device]
        begins_ms = self.start_ms + int(trouble.from_day * DAY_MS)
        ends_ms = self.start_ms + int(trouble.to_day * DAY_MS)
        if trouble.kind == "breaks":
            self._at(begins_ms, self._break, host, uuid)
            self._at(ends_ms, self._repair, host, uuid)
        elif trouble.kind == "dies":
            self._at(begins_ms, self._die, host)
            self._at(begins_ms + LOST_AFTER_MS, self._lose, host)
            self._at(ends_ms, self._reboot, host)
        else:
            self._at(begins_ms, self._note_node, NodeCordoned(host.name, drain=True))
            self._at(ends_ms, self._note_node, NodeUncordoned(host.name))

    def _break(self, host: Host, uuid: str) -> None:
        host.broken.add(uuid)
        for run in [run for run in host.runs.values() if uuid in run.lease.devices]:
            self._ended(host, run.lease, "device_failed", None)
        self._note_node(host.describe())

    def _repair(self, host: Host, uuid: str) -> None:
        host.broken.discard(uuid)
        self._note_node(host.describe())

    def _die(self, host: Host) -> None:
        """Its last words were said before; what ran since is lost with it."""
        host.cut_segments(self.now_ms)
        host.cut_slices(self.now_ms)
        self._send(host)
        self.down.add(host.name)
        self._gone.update(host.runs)

    def _lose(self, host: Host) -> None:
        self._note_node(NodeLivenessChanged(host.name, "lost", "no heartbeat for 30 s"))

    def _reboot(self, host: Host) -> None:
        self._gone.update(lease.key for own, lease in self._leases.values() if own is host)
        self.down.discard(host.name)
        host.start(self.now_ms)
        self._note_node(host.describe())
        self._note_node(NodeLivenessChanged(host.name, "alive", "heartbeats again"))

    # -- how it is said ---------------------------------------------------------------------------
    def _join(self, name: str, kind: Kind) -> None:
        host = self.hosts[name] = Host(name, kind, self.now_ms)
        self._note_node(host.describe())

    def _note_node(self, fact: Any) -> None:
        self._store_entry("NODES", [fact])
        self._decide(NodeChanged(fact))

    def _report(self, host: Host, item: ReportItem) -> None:
        self._decide(NodeReported(host.name, f"{host.name}-boot-{host.boot}", item))

    def _item(self, kind: type, lease: Lease, **fields: Any) -> Any:
        lease_seq, job_id, rank = lease.key
        return kind(
            job_id=job_id, attempt=lease.attempt, rank=rank, lease_seq=lease_seq,
            at_ms=self.now_ms, **fields,
        )  # fmt: skip

    def _decide(self, event: object) -> None:
        """One transition of the scheduler, its entry, and what its facts lead to."""
        seq, now_ns = self.seqs["JOBS"] + 1, self.now_ms * 1_000_000
        facts = list(self.core.decide(event, now_ns, seq))
        for fact in facts:
            self.core.apply(fact, seq, now_ns)
        while more := self.core.settle(now_ns, seq):
            for fact in more:
                self.core.apply(fact, seq, now_ns)
            facts += more
        if facts:
            self._store_entry("JOBS", facts)
            for fact in facts:
                self._follow(fact, seq)

    def _follow(self, fact: Any, seq: int) -> None:
        if isinstance(fact, LeaseGranted):
            work = self.jobs[fact.job_id]
            for place in fact.ranks:
                host = self.hosts[place.node]
                lease = Lease(
                    seq, fact.job_id, work.tenant, fact.attempt, place.rank, place.devices,
                    work.busy_milli,
                )  # fmt: skip
                self._leases[fact.job_id, fact.attempt, place.rank] = host, lease
                self._at(self.now_ms, self._report, host, self._item(Preparing, lease))
                act = self._prepared if len(fact.ranks) > 1 else self._started
                self._at(self.now_ms + PREPARE_MS, act, host, lease)
        elif isinstance(fact, GangReady | StopRequested):
            for (job_id, attempt, _), (host, lease) in list(self._leases.items()):
                if (job_id, attempt) != (fact.job_id, fact.attempt):
                    continue
                if isinstance(fact, GangReady):
                    self._at(self.now_ms, self._started, host, lease)
                else:
                    self._at(self.now_ms + SETTLE_MS, self._ended, host, lease, "signalled", None)

    def _cut(self, *, send: bool) -> None:
        for host in self.hosts.values():
            if host.name not in self.down:
                host.cut_slices(self.now_ms)
                if send or self.now_ms % HOUR_MS == 0:
                    host.cut_segments(self.now_ms)
                if send:
                    self._send(host)

    def _send(self, host: Host) -> None:
        self._store("USAGE", f"penstock.v1.usage.{host.name}", host.send(self.now_ms))

    def _store_entry(self, stream: str, facts: list[Any]) -> None:
        entry = {
            "term": 1, "writer": "month", "entry_id": f"{stream}-{self.seqs[stream] + 1}",
            "now_ns": self.now_ms * 1_000_000, "cursors": {}, "facts": facts,
        }  # fmt: skip
        self._store(stream, SUBJECTS[stream], entry)

    def _store(self, stream: str, subject: str, content: Any) -> None:
        self.seqs[stream] += 1
        payload = msgspec.json.encode(content)
        time_ns = self.now_ms * 1_000_000
        self.streams[stream].append(StoredMessage(subject, payload, self.seqs[stream], time_ns))

    def _at(self, at_ms: int, act: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (at_ms, self._order, act, arguments))
