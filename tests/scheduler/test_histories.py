"""Do the scheduler's invariants hold over any history?

A state machine submits, cancels, reports (also stale and repeated), loses, fences, reboots, drains
and removes nodes in any order. After every step the audit must find nothing, no device may be held
beyond itself, counted here from facts alone, and replaying the facts or a snapshot must give the
same state.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock_contracts import journal, nodes
from penstock_contracts.asks import Alternative
from penstock_contracts.jobs import FACT_NAMES, TERMINAL
from penstock_contracts.leases import (
    Declined,
    Exited,
    Prepared,
    Preparing,
    Released,
    Rendezvous,
    Started,
)
from penstock_runtime.entries import Committed
from penstock_scheduler.core.events import NodeChanged, NodeReported
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.telling.views import findings
from penstock_scheduler.public_facts import public_messages
from tests.scheduler.driver import Driver, a_job, a_node

pytestmark = pytest.mark.lesson(2, 17)

NODES = ("n1", "n2", "n3")
KINDS = ("prepare", "start", "exit", "fail", "release", "decline")
SHAPES = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 4),
        "ranks": st.integers(1, 3),
        "priority": st.integers(0, 9),
        "retries": st.integers(0, 2),
        "disconnect_s": st.sampled_from([None, 30]),
    },
    optional={
        "near": st.sampled_from(["node", "rack", "site"]),
        "near_required": st.booleans(),
        "spread": st.sampled_from(["node", "rack"]),
        "alternatives": st.just((Alternative(gpus=3), Alternative(gpus=1, gpu_milli=500))),
        "apart": st.just("alone"),
        "node_labels": st.just({"rack": "r1"}),
    },
).filter(lambda fields: a_job(1, **fields).fault() is None)
PLACES = st.sampled_from([{}, {"rack": "r1"}, {"rack": "r2"}, {"rack": "r2", "site": "s"}])


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(a_node("n1", 4), a_node("n2", 2))
        self.number = 0
        self.boots = dict.fromkeys(NODES, 1)
        self.entries: list[tuple[int, int, list]] = []
        self.past: list[NodeReported] = []
        self.heard = dict.fromkeys(NODES, self.driver.now_ns)

    def feed(self, *events: object) -> None:
        before = len(self.driver.facts)
        self.driver.feed(*events)
        self.entries.append((self.driver.seq, self.driver.now_ns, self.driver.facts[before:]))

    @rule(shape=SHAPES, fraction=st.booleans())
    def submit(self, shape: dict, fraction: bool) -> None:
        self.number += 1
        if fraction and "alternatives" not in shape:
            shape = {**shape, "gpus": 1, "gpu_milli": 300}
        self.driver.submit(a_job(self.number, **shape))

    @precondition(lambda self: self.number)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.driver.cancel(a_job(data.draw(st.integers(1, self.number))))

    @precondition(lambda self: self.driver.core.state.leases)
    @rule(
        data=st.data(),
        kind=st.sampled_from(["prepare", "start", "exit", "fail", "release", "decline"]),
    )
    def report(self, data: st.DataObject, kind: str) -> None:
        leases = sorted(self.driver.core.state.leases.values(), key=lambda lease: lease.id)
        lease = data.draw(st.sampled_from(leases))
        job = self.driver.core.state.jobs.get(lease.job_id)
        step = {
            "job_id": lease.job_id,
            "attempt": lease.attempt,
            "rank": lease.rank,
            "lease_seq": lease.lease_seq,
            "at_ms": self.driver.now_ns // 1_000_000,
        }
        ended = job is None or job.attempt != lease.attempt
        exited = ended or job.ranks[lease.rank].exited is not None
        started = not ended and job.ranks[lease.rank].started
        ready = lease.spec.ranks == 1 or lease.ready is not None
        where = Rendezvous("127.0.0.1", 20_000) if lease.rank == 0 else None
        items = {
            "prepare": None if started or exited else Prepared(**step, rendezvous=where),
            "start": Started(**step) if ready and not exited else None,
            "exit": Exited(**step, reason="exited", exit_code=0) if started else None,
            "fail": None if exited else Exited(**step, reason="signalled", signal=9),
            "release": Released(**step) if exited else None,
            "decline": None if started or exited else Declined(**step, code="x", message="no"),
        }
        if items[kind] is not None:
            events = [NodeReported(lease.node, "boot", items[kind])]
            if kind == "start":
                events.insert(0, NodeReported(lease.node, "boot", Preparing(**step)))
            self.past += events
            self.driver.feed(*events)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def repeat_an_old_report(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.past))
        before = self.driver.core.snapshot()
        self.driver.feed(old)
        if self.driver.core.state.leases.get((old.item.job_id, old.item.attempt, old.item.rank)):
            return
        assert self.driver.core.snapshot() == before

    @rule(name=st.sampled_from(NODES), liveness=st.sampled_from(["alive", "suspect", "lost"]))
    def judge(self, name: str, liveness: str) -> None:
        self.driver.feed(NodeChanged(nodes.NodeLivenessChanged(name, liveness, "")))

    @rule(name=st.sampled_from(NODES), deadline=st.sampled_from([None, 0, 10**10]))
    def drain(self, name: str, deadline: int | None) -> None:
        at = None if deadline is None else self.driver.now_ns + deadline
        self.driver.feed(NodeChanged(nodes.NodeCordoned(name, True, at, "")))

    @rule(name=st.sampled_from(NODES))
    def uncordon(self, name: str) -> None:
        self.driver.feed(NodeChanged(nodes.NodeUncordoned(name)))

    @rule(name=st.sampled_from(NODES), reboot=st.booleans(), gpus=st.integers(0, 4), labels=PLACES)
    def register(self, name: str, reboot: bool, gpus: int, labels: dict[str, str]) -> None:
        self.boots[name] += reboot
        node = a_node(name, gpus, boot_id=f"boot-{self.boots[name]}", labels=labels)
        self.driver.feed(NodeChanged(nodes.NodeRegistered(node)))

    @rule(name=st.sampled_from(NODES))
    def fence(self, name: str) -> None:
        self.driver.feed(NodeChanged(nodes.NodeFenced(name, "boot")))

    @rule(name=st.sampled_from(NODES))
    def remove(self, name: str) -> None:
        self.driver.feed(NodeChanged(nodes.NodeRemoved(name)))

    @rule(seconds=st.sampled_from([1, 10, 60]), heard=st.booleans())
    def wait(self, seconds: int, heard: bool) -> None:
        if heard:
            self.heard = dict.fromkeys(NODES, self.driver.now_ns)
        self.driver.tick(seconds, self.heard)

    @invariant()
    def the_audit_finds_nothing(self) -> None:
        assert findings(self.driver.core.state) == []

    @invariant()
    def no_device_is_held_beyond_itself(self) -> None:
        held: dict[str, int] = defaultdict(int)
        holders: dict[tuple[str, int, int], tuple[tuple[str, ...], int]] = {}
        for fact in self.driver.facts:
            if isinstance(fact, journal.LeaseGranted):
                for rank in fact.ranks:
                    key = (fact.job_id, fact.attempt, rank.rank)
                    holders[key] = (rank.devices, fact.gpu_milli)
                    for uuid in rank.devices:
                        held[uuid] += fact.gpu_milli
                        assert held[uuid] <= 1000, f"{uuid} is held twice"
            elif isinstance(fact, journal.RankReleased):
                devices, milli = holders.pop((fact.job_id, fact.attempt, fact.rank))
                for uuid in devices:
                    held[uuid] -= milli

    @invariant()
    def every_gang_is_whole_and_has_what_it_demands(self) -> None:
        core = self.driver.core
        for job in core.state.jobs.values():
            assert len(job.ranks) in (0, job.spec.ranks)
            if job.ranks and job.spec.near_required and job.spec.near == "node":
                assert len({rank.node for rank in job.ranks}) == 1
            if job.ranks and job.spec.spread == "node":
                assert len({rank.node for rank in job.ranks}) == job.spec.ranks
            if job.ranks:
                taken = job.spec.resolved(job.alternative)
                assert {len(rank.uuids) for rank in job.ranks} == {taken.gpus}
        alone: dict[str, str] = {}
        for lease in core.state.leases.values():
            if lease.spec.apart:
                assert alone.setdefault(lease.node, lease.job_id) == lease.job_id

    @invariant()
    def every_job_has_at_most_one_end(self) -> None:
        ends = [
            fact.job_id
            for fact in self.driver.facts
            if isinstance(fact, journal.JobFinished | journal.JobRejected)
        ]
        assert len(ends) == len(set(ends))

    def teardown(self) -> None:
        """Replay and snapshot agree with what lived; public facts tell a legal story."""
        core = self.driver.core
        restored = SchedulerCore()
        restored.restore(core.snapshot())
        assert restored.snapshot() == core.snapshot()
        assert restored.settle(self.driver.now_ns, 0) == core.settle(self.driver.now_ns, 0)
        entry = Committed(
            seq=1, term=1, writer="w", entry_id="e", now_ns=0, cursors={}, facts=self.driver.facts
        )
        ended: set[str] = set()
        last_index = -1
        for index, subject, payload, _ in public_messages(entry):
            assert index == last_index + 1
            last_index = index
            message = msgspec.json.decode(payload)
            if "fact" in message:
                assert subject.endswith(message["fact"]) and message["fact"] in FACT_NAMES
                assert message["job_id"] not in ended, "a fact after the end"
                if message["fact"] in TERMINAL:
                    ended.add(message["job_id"])


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_replaying_the_facts_gives_the_same_state() -> None:
    driver = Driver(a_node("n1", 2))
    entries = []

    def feed(*events: object) -> None:
        before = len(driver.facts)
        driver.feed(*events)
        entries.append((driver.seq, driver.now_ns, driver.facts[before:]))

    replayed = SchedulerCore()
    for fact in driver.facts:
        replayed.apply(fact, 1, driver.now_ns)
    for number in range(1, 4):
        before = len(driver.facts)
        driver.submit(a_job(number, gpus=1))
        entries.append((driver.seq, driver.now_ns, driver.facts[before:]))
    feed(driver.reported(Preparing, a_job(1)), driver.reported(Started, a_job(1)))
    feed(driver.reported(Exited, a_job(1), reason="exited", exit_code=0))
    feed(driver.reported(Released, a_job(1)))
    for seq, now_ns, facts in entries:
        for fact in facts:
            replayed.apply(fact, seq, now_ns)
    live, again = (msgspec.json.decode(c.snapshot()) for c in (driver.core, replayed))
    live.pop("fleet_changed_ns"), again.pop("fleet_changed_ns")
    assert live == again
