"""Can anything that is not said free a device, or end work that has not asked for it?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts import journal, nodes
from penstock_contracts.leases import Exited, Released
from penstock_scheduler.core.events import NodeChanged, NodeReported
from penstock_scheduler.core.machine import SchedulerCore
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node

GPUS = 2
NAMES = ("n1", "n2")
HOUR_S = 3_600
HINTS = st.one_of(
    st.tuples(st.just("time"), st.integers(1, 10 * HOUR_S)),
    st.tuples(st.just("liveness"), st.sampled_from(["alive", "suspect", "lost"])),
    st.tuples(st.just("drain"), st.sampled_from([None, 0, 60])),
    st.tuples(st.just("uncordon"), st.none()),
    st.tuples(st.just("fewer devices"), st.integers(0, GPUS)),
    st.tuples(st.just("stale report"), st.integers(-3, -1)),
    st.tuples(st.just("another's report"), st.sampled_from(NAMES)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("submit"), st.integers(100, 999)),
)


class Silence:
    """Four jobs hold all devices of two nodes; after that nothing is heard that proves anything."""

    def __init__(self, disconnect_s: int | None) -> None:
        self.driver = Driver(*(a_node(name, GPUS) for name in NAMES))
        self.jobs = [
            a_job(number, gpus=1, retries=3, disconnect_s=disconnect_s) for number in range(1, 5)
        ]
        self.driver.submit(*self.jobs)
        for job in self.jobs:
            self.driver.start(job)
        self.held = dict(self.driver.core.state.leases)
        self.contact = dict.fromkeys(NAMES, self.driver.now_ns)
        self.before = len(self.driver.facts)

    @property
    def new_facts(self) -> list[Any]:
        return self.driver.facts[self.before :]

    def happen(self, node: str, hint: tuple[str, Any]) -> None:
        kind, detail = hint
        driver = self.driver
        if kind == "time":
            driver.tick(detail, self.contact)
        elif kind == "liveness":
            driver.feed(NodeChanged(nodes.NodeLivenessChanged(node, detail, "")))
        elif kind == "drain":
            deadline = None if detail is None else driver.now_ns + detail * SECOND_NS
            driver.feed(NodeChanged(nodes.NodeCordoned(node, True, deadline, "")))
        elif kind == "uncordon":
            driver.feed(NodeChanged(nodes.NodeUncordoned(node)))
        elif kind == "fewer devices":
            driver.feed(NodeChanged(nodes.NodeRegistered(a_node(node, detail))))
        elif kind == "restart":
            core = SchedulerCore()
            core.restore(driver.core.snapshot())
            driver.core = core
        elif kind == "submit":
            driver.submit(a_job(detail, gpus=1))
        else:
            self._report(kind, detail)

    def _report(self, kind: str, detail: Any) -> None:
        """That a rank has ended and is released: under an older grant, or from another node."""
        for lease in self.held.values():
            stale = kind == "stale report"
            said_by = lease.node if stale else detail
            if not stale and said_by == lease.node:
                continue
            step = {
                "job_id": lease.job_id,
                "attempt": lease.attempt,
                "rank": lease.rank,
                "lease_seq": lease.lease_seq + (detail if stale else 0),
                "at_ms": 0,
            }
            self.driver.feed(
                NodeReported(said_by, "boot-1", Exited(**step, reason="exited", exit_code=0)),
                NodeReported(said_by, "boot-1", Released(**step)),
            )


@pytest.mark.lesson(2, 12)
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), HINTS), max_size=25), st.sampled_from([None, 30]))
def test_whatever_is_not_said_frees_nothing(
    hints: list[tuple[str, tuple[str, Any]]], disconnect_s: int | None
) -> None:
    silence = Silence(disconnect_s)
    for node, hint in hints:
        silence.happen(node, hint)
        state = silence.driver.core.state
        assert silence.held.keys() <= state.leases.keys()
        taken = [uuid for lease in state.leases.values() for uuid in lease.uuids]
        assert sorted(taken) == sorted({*taken}), "what is withheld is granted to nobody else"
    assert not [fact for fact in silence.new_facts if isinstance(fact, journal.RankReleased)]


@pytest.mark.lesson(12)
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), HINTS), max_size=25))
def test_no_job_that_set_no_limit_to_silence_is_ended_or_run_again_by_it(
    hints: list[tuple[str, tuple[str, Any]]],
) -> None:
    silence = Silence(None)
    for node, hint in hints:
        silence.happen(node, hint)
    mine = {job.job_id for job in silence.jobs}
    ended = journal.RankExited | journal.AttemptEnded | journal.JobFinished | journal.LeaseGranted
    told = [fact for fact in silence.new_facts if isinstance(fact, ended)]
    assert not [fact for fact in told if fact.job_id in mine]
    for job in silence.jobs:
        assert silence.driver.core.state.jobs[job.job_id].state == "running"
