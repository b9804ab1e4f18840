"""What becomes of jobs that come to a fleet, under a policy of the queue?

The scheduler's own core decides, in virtual time; hosts do at once what they are told, and a job
works for as long as its trace says. What is asked to yield ends at once, and begins again with what
its spec says it has saved. It does not know files, nor what is made of the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from penstock_contracts.journal import (
    AttemptEnded,
    JobFact,
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    StopRequested,
)
from penstock_contracts.nodes import NodeRegistered
from penstock_contracts.queue_facts import PolicySet
from penstock_contracts.queue_policy import QueuePolicy
from penstock_scheduler.core.events import JobsRequested, NodeChanged, Ticked
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.simulate.queue_hosts import Hosts, Life
from penstock_scheduler.simulate.queue_jobs import BEGIN_MS, Fleet
from penstock_scheduler.simulate.queue_shares import Shares

MS_NS = 1_000_000
SETTLED_MS = 10_000
"""Before the first job comes the fleet has been there for so long, as if it had always been."""
IDLE_TICKS_MAX = 3
"""When so many ticks have brought nothing, nothing comes before something else happens."""
POINTS_MAX = 400


class Play(NamedTuple):
    """`tick_ms`: while somebody waits the clock ticks no more often than that; the real one does so
    each second. `restart_ms`: what a job that has yielded needs before it works on. `knows`: who is
    first in line is who takes least, as only an oracle can tell."""

    tick_ms: int
    restart_ms: int = 0
    knows: bool = False


class Done(NamedTuple):
    """A job that has ended: in line for `queued_ms` in all, and so many times stopped for others.
    What it lost so it did again."""

    tenant: str
    gpu_milli: int
    worked_ms: int
    queued_ms: int
    completed_ms: int
    yielded: int
    lost_ms: int


class Moment(NamedTuple):
    """At a time after the first arrival: how many wait, and what is held."""

    at_ms: int
    waiting: int
    held_milli: int


class Story(NamedTuple):
    """What came of one fleet. `refused`: jobs that could not even wait, or never ran."""

    fleet: str
    capacity_milli: int
    done: tuple[Done, ...]
    refused: int
    makespan_ms: int
    held_milli_ms: int
    share_error: dict[str, float]
    moments: tuple[Moment, ...]


def play(fleet: Fleet, policy: QueuePolicy, how: Play, progress: Callable[[int], None]) -> Story:
    """All jobs, from the first arrival to the last end."""
    return _World(fleet, policy, how).run(progress)


class _World:
    """The core, the hosts, and what was counted so far. Times are ms after `BEGIN_MS`."""

    def __init__(self, fleet: Fleet, policy: QueuePolicy, how: Play) -> None:
        self._core = SchedulerCore()
        self._fleet, self._how, self._policy = fleet, how, policy
        self._seq, self._now_ms = 0, -2 * SETTLED_MS
        self._hosts = Hosts(fleet, how.restart_ms)
        self._granted: list[str] = []
        self._done: list[Done] = []
        self._refused = self._held = self._held_milli_ms = self._last_ms = 0
        self._ticked_ms, self._idle_ticks = -SETTLED_MS, 0
        self._moments: list[Moment] = []
        self._capacity = sum(1000 * len(node.devices) for node in fleet.nodes)
        self._shares = Shares(policy, {job.tenant for job in fleet.jobs}, self._capacity)

    def run(self, progress: Callable[[int], None]) -> Story:
        self._begin()
        jobs, at = self._fleet.jobs, 0
        while True:
            now_ms = self._next_ms(at)
            if now_ms is None:
                break
            self._pass_time(now_ms)
            came = at
            while at < len(jobs) and jobs[at].arrival_ms <= now_ms:
                at += 1
            self._step(came, at)
            progress(at - came)
        story = self._fleet.name, self._capacity, tuple(self._done)
        refused = self._refused + len(self._hosts.lives)
        errors = self._shares.errors()
        points = tuple(self._thinned())
        return Story(*story, refused, self._last_ms, self._held_milli_ms, errors, points)

    # -- time
    def _begin(self) -> None:
        self._fold([PolicySet(1, self._policy, "simulated", BEGIN_MS)])
        for node in self._fleet.nodes:
            self._feed([NodeChanged(NodeRegistered(node))])
        self._now_ms = -SETTLED_MS
        self._feed([Ticked({}, 0)])

    def _next_ms(self, at: int) -> int | None:
        jobs = self._fleet.jobs
        instants = [jobs[at].arrival_ms] if at < len(jobs) else []
        if self._hosts.next_end_ms is not None:
            instants.append(self._hosts.next_end_ms)
        if self._is_tick_due():
            tick_ms = self._ticked_ms + self._how.tick_ms
            instants.append(max(tick_ms, self._now_ms))
        return min(instants, default=None)

    def _is_tick_due(self) -> bool:
        """While somebody waits, and a tick may change that."""
        state = self._core.state
        if not len(state.line) and not state.resting:
            return False
        lasting = bool(state.heads) or bool(self._policy.reservations)
        return self._idle_ticks < IDLE_TICKS_MAX or lasting

    def _pass_time(self, now_ms: int) -> None:
        self._held_milli_ms += self._held * (now_ms - max(0, self._now_ms))
        self._shares.pass_time(now_ms - self._now_ms)
        self._now_ms = now_ms
        waiting = len(self._core.state.line)
        self._moments.append(Moment(now_ms, waiting, self._held))
        if len(self._moments) > 2 * POINTS_MAX:
            self._moments = list(self._thinned())

    def _thinned(self) -> Iterator[Moment]:
        """Evenly over the time that has passed."""
        step_ms = max(1, self._now_ms // POINTS_MAX)
        last = -1
        for moment in self._moments:
            if moment.at_ms // step_ms != last:
                last = moment.at_ms // step_ms
                yield moment

    # -- what happens
    def _step(self, came: int, upto: int) -> None:
        """What ends and who comes now, all before anybody is placed; then what follows."""
        events: list[object] = []
        for life in self._hosts.ending(self._now_ms):
            self._hold(life, -1)
            events += self._hosts.end(life, self._now_ms)
        for number in range(came, upto):
            job = self._hosts.come(number).job
            self._shares.wait(job.tenant, job.gpu_milli)
            events.append(JobsRequested(job.tenant, number + 1, (job.spec,)))
        ticks = self._is_tick_due() and self._now_ms >= self._ticked_ms + self._how.tick_ms
        if ticks:
            self._ticked_ms = self._now_ms
            events.append(Ticked({}, self._seq))
        happened = len(events) - ticks
        told = self._feed(events)
        for number in range(came, upto):
            if self._fleet.jobs[number].spec.job_id not in self._core.state.jobs:
                self._refuse(self._fleet.jobs[number].spec.job_id)
        while self._granted:
            begins, self._granted = self._granted, []
            told += self._feed(
                [one for job_id in begins for one in self._hosts.start(job_id, self._now_ms)]
            )
        if happened or told:
            self._idle_ticks = 0
        elif ticks:
            self._idle_ticks += 1

    def _feed(self, events: Sequence[object]) -> int:
        """One transition. Returns how many facts followed."""
        self._seq += 1
        now_ns = (BEGIN_MS + self._now_ms) * MS_NS
        count = 0
        for event in events:
            count += self._fold(self._core.decide(event, now_ns, self._seq))
        while facts := self._core.settle(now_ns, self._seq):
            count += self._fold(facts)
        return count

    def _fold(self, facts: Sequence[JobFact]) -> int:
        now_ns = (BEGIN_MS + self._now_ms) * MS_NS
        for fact in facts:
            if self._how.knows and isinstance(fact, JobSubmitted):
                life = self._hosts.lives[fact.spec.job_id]
                self._core.state.order = life.job.duration_ms
            self._core.apply(fact, self._seq, now_ns)
            self._note(fact)
        return len(facts)

    def _note(self, fact: JobFact) -> None:
        hosts = self._hosts
        if isinstance(fact, LeaseGranted):
            self._hold(hosts.take(fact, self._seq), 1)
            self._granted.append(fact.job_id)
        elif isinstance(fact, StopRequested):
            hosts.stop(fact.job_id, fact.attempt, self._now_ms)
        elif isinstance(fact, AttemptEnded):
            hosts.lives[fact.job_id].yielded += 1
        elif isinstance(fact, JobRejected):
            self._refuse(fact.job_id)
        elif isinstance(fact, JobFinished):
            self._finish(fact)

    # -- what is counted
    def _hold(self, life: Life, sign: int) -> None:
        self._held += sign * life.job.gpu_milli
        self._shares.hold(life.job.tenant, sign * life.job.gpu_milli)

    def _refuse(self, job_id: str) -> None:
        """It could not even wait, or waited for what can never be."""
        life = self._hosts.lives.pop(job_id, None)
        if life is not None:
            self._shares.wait(life.job.tenant, -life.job.gpu_milli)
            self._refused += 1

    def _finish(self, fact: JobFinished) -> None:
        if fact.state != "succeeded":
            self._refuse(fact.job_id)
            return
        life = self._hosts.lives.pop(fact.job_id)
        job = life.job
        self._shares.wait(job.tenant, -job.gpu_milli)
        self._last_ms = max(self._last_ms, self._now_ms)
        completed_ms = self._now_ms - job.arrival_ms
        self._done.append(
            Done(
                job.tenant,
                job.gpu_milli,
                job.duration_ms,
                completed_ms - job.duration_ms,
                completed_ms,
                life.yielded,
                max(0, life.ran_ms - job.duration_ms),
            )
        )
