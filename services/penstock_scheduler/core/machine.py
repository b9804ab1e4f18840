"""How do events become facts, and facts state?

The scheduler's core as the journaled service drives it: `decide` and `settle` return facts and
change nothing; `apply` is the one mutation door; `snapshot` and `restore` carry the state over a
restart. It does not know the journal, the bus, or what time it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock_contracts.errors import InvariantError
from penstock_contracts.jobs import QUEUED
from penstock_contracts.journal import JobFact, NodeImaged
from penstock_contracts.queue_policy import PolicyVersion
from penstock_scheduler.core.events import (
    BudgetHeard,
    CancelAsked,
    ExpectationOffered,
    GapFound,
    JobsRequested,
    NodeChanged,
    NodeReported,
    Nudged,
    PolicyAsked,
    RequestBroken,
    Ticked,
)
from penstock_scheduler.core.fleet import decide_node, decide_tick
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.gaps import apply_after_gap, decide_gap
from penstock_scheduler.core.granting import decide_next
from penstock_scheduler.core.money.budgets import Budgets, Kept
from penstock_scheduler.core.money.folds import find_payer
from penstock_scheduler.core.money.paying import decide_heard
from penstock_scheduler.core.packing.compiled import HAS_NUMBA
from penstock_scheduler.core.packing.policies import DEFAULT, Policy
from penstock_scheduler.core.placing.capacity import Capacity
from penstock_scheduler.core.placing.expectation import Counted
from penstock_scheduler.core.placing.learning import decide_due, decide_offered
from penstock_scheduler.core.queue.folds import obey
from penstock_scheduler.core.queue.keeping import places
from penstock_scheduler.core.queue.keeping.places import PlaceImage
from penstock_scheduler.core.queue.keeping.runtimes import Runtimes, RuntimesKept
from penstock_scheduler.core.queue.quotas.rules import UNSET, Rules
from penstock_scheduler.core.queue.quotas.shares import Shares, SharesKept
from penstock_scheduler.core.queue.setting import decide_policy
from penstock_scheduler.core.queue.yielding.preempt import Rounds
from penstock_scheduler.core.reports import decide_report
from penstock_scheduler.core.requests import decide_broken, decide_cancel, decide_submit
from penstock_scheduler.core.resting.failing import Failing, Instants
from penstock_scheduler.core.state import Job, Lease
from penstock_scheduler.core.telling.reasons import Reasons


class Snapshot(msgspec.Struct, kw_only=True):
    """All of a state that is not derived."""

    jobs: list[Job]
    leases: list[Lease]
    nodes: list[NodeImaged]
    remembered: dict[str, str]
    accepted: int
    finished: dict[str, int]
    order: int
    fleet_changed_ns: int
    forgotten_before_ms: int
    expected: Counted | None = None
    money: Kept | None = None
    demand: dict[str, int] = {}
    failing: dict[str, Instants] = {}
    policy: PolicyVersion = UNSET
    policy_keys: tuple[str, ...] = ()
    shares: SharesKept = msgspec.field(default_factory=SharesKept)
    heads: dict[str, tuple[str, int]] = {}
    places: list[PlaceImage] = []
    runtimes: RuntimesKept = msgspec.field(default_factory=RuntimesKept)


class SchedulerCore:
    """See the module. `state` is for reading only. `machine_code`: as the packer's."""

    def __init__(self, policy: Policy = DEFAULT, *, machine_code: bool = HAS_NUMBA) -> None:
        self._policy = policy
        self._machine_code = machine_code
        self.state = self._empty()
        self.reasons = Reasons()
        self._rounds = Rounds()

    def decide(self, event: object, now_ns: int, next_seq: int) -> Sequence[JobFact]:
        """Facts that an event causes, given the state; they will stand in entry `next_seq`."""
        if isinstance(event, NodeReported):
            return decide_report(self.state, event, now_ns)
        if isinstance(event, JobsRequested):
            return decide_submit(self.state, event, now_ns)
        if isinstance(event, CancelAsked):
            return decide_cancel(self.state, event)
        if isinstance(event, Ticked):
            self._rounds.begin()
            return decide_tick(self.state, event, now_ns)
        if isinstance(event, NodeChanged):
            return decide_node(self.state, event.fact, now_ns)
        if isinstance(event, Nudged):
            return ()
        if isinstance(event, GapFound):
            return decide_gap(self.state, now_ns)
        if isinstance(event, RequestBroken):
            return decide_broken(event)
        if isinstance(event, BudgetHeard):
            return decide_heard(self.state, event.fact)
        if isinstance(event, PolicyAsked):
            return decide_policy(self.state, event.asked, now_ns)
        if isinstance(event, ExpectationOffered):
            return decide_offered(self.state, event, now_ns)
        raise InvariantError(f"the scheduler knows no event {type(event).__name__}")

    def settle(self, now_ns: int, next_seq: int) -> Sequence[JobFact]:
        """Says what is expected when that is due, then grants the next job in line that fits, and
        after a tick has others yield; nothing when nothing follows. Called until it returns none.
        """
        state = self.state
        return (
            decide_due(state, now_ns)
            or decide_next(state, self.reasons, now_ns)
            or self._rounds.decide(state, now_ns)
        )

    def apply(self, fact: JobFact, seq: int, now_ns: int) -> None:
        """Folds one fact; the only mutation."""
        self.state.apply(fact, seq, now_ns)
        self._rounds.note(fact)

    def apply_after_gap(self, fact: JobFact, seq: int, now_ns: int) -> bool:
        """Folds a fact behind an entry that was damaged; False when it does not fit."""
        return apply_after_gap(self.state, fact, seq, now_ns)

    def snapshot(self) -> bytes:
        """The state as bytes; `restore` of them gives an equal state."""
        state = self.state
        return msgspec.json.encode(
            Snapshot(
                jobs=list(state.jobs.values()),
                leases=list(state.leases.values()),
                nodes=[node.image for node in state.nodes.values()],
                remembered=state.remembered,
                accepted=state.accepted,
                finished=state.finished,
                order=state.order,
                fleet_changed_ns=state.fleet_changed_ns,
                forgotten_before_ms=state.forgotten_before_ms,
                expected=state.expectation.snapshot(),
                money=state.budgets.keep(),
                demand=state.demand,
                failing=state.failing.by_node,
                policy=state.rules.held,
                policy_keys=state.rules.keys,
                shares=state.shares.keep(),
                heads=state.heads,
                places=state.places.images(),
                runtimes=state.runtimes.keep(),
            )
        )

    def restore(self, data: bytes) -> None:
        """Replaces the state by that of a snapshot. Raises msgspec.DecodeError on foreign bytes."""
        snapshot = msgspec.json.decode(data, type=Snapshot)
        state = self._empty()
        rules = Rules(snapshot.policy, snapshot.policy_keys)
        obey(state, rules, Shares(rules, snapshot.shares))
        state.heads, state.runtimes = snapshot.heads, Runtimes(snapshot.runtimes)
        for image in snapshot.nodes:
            state.apply(image, 0, snapshot.fleet_changed_ns)
        state.jobs = {job.spec.job_id: job for job in snapshot.jobs}
        for lease in snapshot.leases:
            state.restore_lease(lease)
        state.budgets, state.demand = Budgets(snapshot.money), snapshot.demand
        state.failing = Failing(snapshot.failing)
        for job in snapshot.jobs:
            if job.state == QUEUED:
                state.wait(job)
            else:
                find_payer(state, job)
        places.restore(state, snapshot.places)
        state.remembered = snapshot.remembered
        state.accepted = snapshot.accepted
        state.finished = snapshot.finished
        state.order = snapshot.order
        state.fleet_changed_ns = snapshot.fleet_changed_ns
        state.forgotten_before_ms = snapshot.forgotten_before_ms
        if snapshot.expected is not None:
            workload = state.expectation.restore(snapshot.expected)
            if workload is not None:
                state.capacity.expect(workload)
        self.state, self._rounds = state, Rounds()

    def _empty(self) -> State:
        return State(Capacity(self._policy, machine_code=self._machine_code))
