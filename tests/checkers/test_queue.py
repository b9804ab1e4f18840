"""Do the checkers of the queue see what breaks its promises, and only that?"""

from __future__ import annotations

import signal
from typing import Any

from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import (
    LeaseGranted,
    NodeImaged,
    PlaceGivenUp,
    PlaceKept,
    PolicySet,
    RankExited,
    RankPlacement,
    RankReleased,
    StopRequested,
)
from penstock_contracts.queue_facts import KeptRank
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota, Reservation
from tests.checkers.builders import WALL_NS, Mesh
from tests.checkers.history import Run, Violation
from tests.checkers.places import check_places
from tests.checkers.policies import check_policies
from tests.checkers.queue_seen import PolicyOrder
from tests.checkers.quotas import check_quotas
from tests.checkers.saving import check_saving
from tests.checkers.turns import check_turns
from tests.checkers.windows import check_windows
from tests.checkers.yielding import check_yielding

KEY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
NOW_MS = WALL_NS // 1_000_000
POOL = Pool(name="all", order="skip")
STRICT = Pool(name="all", order="fifo", backfill="none")
OTHERS = Quota(name="others", tenant="red", guaranteed_gpu_milli=2_000)


class Line(Mesh):
    """A mesh with a policy; everybody's job wants one device."""

    def __init__(self, policy: QueuePolicy) -> None:
        super().__init__()
        self.now_ms = NOW_MS + self.now_ns // 1_000_000
        self.commit("JOBS", PolicySet(1, policy, KEY, 0))
        self.history.policy_orders.append(PolicyOrder(at_ns=1, key=KEY, policy=policy, told="done"))

    def waits(self, tenant: str = "blue", **fields: Any) -> JobSpec:
        spec = self.ask(**{"gpus": 1, **fields})
        submitted = self.submitted(spec)
        self.commit("JOBS", type(submitted)(tenant, self.requests, "digest", spec))
        return spec

    def begins(self, spec: JobSpec, device: str = "n1-a", tenant: str = "blue") -> int:
        place = RankPlacement(0, device[:2], (device,))
        granted = LeaseGranted(
            job_id=spec.job_id, attempt=1, ranks=(place,), cpu_milli=100, tenant=tenant
        )
        return self.commit("JOBS", granted)

    def ends(self, spec: JobSpec) -> None:
        self.commit("JOBS", RankReleased(spec.job_id, 1, 0, None, "release_check"))


def codes(found: list[Violation]) -> set[str]:
    return {violation.code for violation in found}


def kept(spec: JobSpec, device: str, *victims: JobSpec, **fields: Any) -> PlaceKept:
    cause = "preemption" if victims else "backfill"
    ranks = (KeptRank(0, device[:2], (device,)),)
    names = tuple(victim.job_id for victim in victims)
    return PlaceKept(spec.job_id, ranks, NOW_MS + 60_000, cause, victims=names, **fields)


def stopped(spec: JobSpec, reason: str = "preempted") -> StopRequested:
    return StopRequested(spec.job_id, 1, reason)


def test_an_order_is_done_once_and_as_it_was_given_or_not_at_all() -> None:
    line = Line(QueuePolicy(pools=(POOL,)))
    assert not check_policies(line.history)
    line.commit("JOBS", PolicySet(3, QueuePolicy(), KEY, 0))
    assert codes(check_policies(line.history)) == {
        "policy_set_twice", "policy_miscounted", "policy_changed",
    }  # fmt: skip
    for told, changes, code in (
        ("done", {"key": "other"}, "policy_lost"),
        ("invalid_field", {}, "refused_and_set"),
        ("done", {"faulty": True}, "contradiction_taken"),
        ("done", {"based_on": 7}, "policy_overwritten"),
    ):
        line = Line(QueuePolicy())
        order = PolicyOrder(
            **{"at_ns": 1, "key": KEY, "policy": QueuePolicy(), "told": told, **changes}
        )
        line.history.policy_orders[0] = order
        assert code in codes(check_policies(line.history))


def test_a_job_is_placed_in_its_own_pool_only() -> None:
    near = Pool(name="near", node_labels={"site": "s"})
    line = Line(QueuePolicy(pools=(near, POOL)))
    line.begins(line.waits(pool="all"))
    assert not check_policies(line.history)
    line.begins(line.waits(pool="near"), "n1-b")
    assert codes(check_policies(line.history)) == {"in_other_pool"}


def test_no_grant_passes_a_maximum_on_its_way_up() -> None:
    above = Quota(name="org", maximum_gpu_milli=1_000)
    below = Quota(name="team", parent="org", tenant="blue")
    line = Line(QueuePolicy(quotas=(above, below)))
    first = line.waits()
    line.begins(first)
    line.ends(first)
    line.begins(line.waits())
    assert not check_quotas(line.history)
    line.begins(line.waits(gpus=1), "n1-b")
    assert codes(check_quotas(line.history)) == {"quota_passed"}


def test_what_is_kept_is_left_alone_but_by_who_surely_ends_in_time() -> None:
    line = Line(QueuePolicy())
    waiting = line.waits()
    line.commit("JOBS", kept(waiting, "n1-a"))
    line.begins(line.waits(), "n1-b")
    line.begins(line.waits(time_limit_s=30, grace_s=0))
    assert not check_places(line.history)
    line.begins(line.waits(time_limit_s=60), "n1-a")
    assert codes(check_places(line.history)) == {"kept_place_taken"}


def test_a_place_is_kept_for_who_waits_and_where_it_is() -> None:
    line = Line(QueuePolicy())
    spec = line.waits()
    line.commit("JOBS", kept(spec, "n1-z"))
    line.begins(spec)
    line.commit("JOBS", kept(spec, "n1-a"))
    assert codes(check_places(line.history)) == {"place_nowhere", "place_of_nobody"}


def a_preemption(**victim: Any) -> tuple[Line, JobSpec]:
    """Somebody has to yield to who is guaranteed so much."""
    line = Line(QueuePolicy(quotas=(OTHERS,)))
    holder = line.waits(**victim)
    line.begins(holder)
    taker = line.waits("red")
    line.commit("JOBS", kept(taker, "n1-a", holder), stopped(holder))
    return line, taker


def test_who_yields_does_so_for_one_who_then_begins() -> None:
    line, taker = a_preemption()
    line.begins(taker, tenant="red")
    assert not check_yielding(line.history)
    line, taker = a_preemption()
    line.commit("JOBS", PlaceGivenUp(taker.job_id, "as it likes"))
    assert codes(check_yielding(line.history)) == {"preempted_in_vain"}
    line, taker = a_preemption()
    image = NodeImaged(node="n1", boot_id="b", cpu_milli=1, memory_mib=1, cordoned=True)
    line.commit("JOBS", image, PlaceGivenUp(taker.job_id, "closed"))
    assert not check_yielding(line.history)


def test_nobody_yields_to_nobody_nor_too_few_nor_without_need() -> None:
    line = Line(QueuePolicy())
    holder, other = line.waits(), line.waits()
    line.begins(holder)
    line.begins(other, "n1-b")
    line.commit("JOBS", stopped(holder))
    assert codes(check_yielding(line.history)) == {"preempted_for_nobody"}
    line.commit("JOBS", kept(line.waits("red"), "n1-b", holder), stopped(holder))
    assert codes(check_yielding(line.history)) == {
        "preempted_for_nobody", "victims_do_not_suffice", "victim_need_not_yield",
    }  # fmt: skip


def test_who_is_within_his_guarantee_yields_to_nobody() -> None:
    line = Line(QueuePolicy(quotas=(OTHERS, Quota(name="us", tenant="blue"))))
    holder = line.waits("red")
    line.begins(holder, tenant="red")
    line.commit("JOBS", kept(line.waits(), "n1-a", holder), stopped(holder))
    assert codes(check_yielding(line.history)) == {"victim_need_not_yield"}


def test_alike_go_in_the_order_in_which_they_came() -> None:
    line = Line(QueuePolicy(pools=(POOL,)))
    first, second = line.waits(), line.waits()
    line.begins(line.waits(gpus=2))
    assert not check_turns(line.history)
    line.begins(second)
    assert codes(check_turns(line.history)) == {"overtaken"}
    line = Line(QueuePolicy(pools=(Pool(name="all"),)))
    first, second = line.waits(), line.waits()
    line.begins(second)
    line.begins(first)
    assert not check_turns(line.history), "among classes shorter ones may be first"


def test_in_a_strict_line_nobody_goes_before_the_first_that_could_run() -> None:
    line = Line(QueuePolicy(pools=(STRICT,)))
    line.waits(gpus=3)
    line.begins(line.waits())
    assert not check_turns(line.history), "no node has so many"
    line.waits(gpus=2)
    line.begins(line.waits(), "n1-b")
    assert codes(check_turns(line.history)) == {"head_overtaken"}


def reserved(tenant: str = "") -> QueuePolicy:
    window = Reservation(
        name="w", start_ms=NOW_MS + 100_000, end_ms=NOW_MS + 200_000, nodes=("n1",), tenant=tenant
    )
    return QueuePolicy(reservations=(window,))


def test_nobody_else_begins_where_it_is_set_aside_nor_stays_there() -> None:
    line = Line(reserved("blue"))
    line.begins(line.waits("red", time_limit_s=200), "n2-a")
    staying = line.waits("red", time_limit_s=30)
    line.begins(staying)
    assert not check_windows(line.history)
    line.begins(line.waits("red", time_limit_s=90), "n1-b")
    assert codes(check_windows(line.history)) == {"begun_in_window"}
    line.now_ns = 120 * 10**9
    line.begins(line.waits(), "n1-b")
    assert codes(check_windows(line.history)) == {"begun_in_window"}, "it is the owner's"
    line.now_ns = 140 * 10**9
    line.commit("JOBS", stopped(staying, "reserved"))
    assert codes(check_windows(line.history)) == {"begun_in_window", "window_not_cleared"}


def test_nobody_is_sent_off_for_a_time_that_is_far_away() -> None:
    line = Line(reserved())
    spec = line.waits()
    line.begins(spec)
    line.commit("JOBS", stopped(spec, "reserved"))
    assert codes(check_windows(line.history)) == {"sent_off_for_nothing"}


def test_work_that_yields_is_told_as_it_wished_and_given_its_time() -> None:
    for asked, found in (
        ([(0, signal.SIGUSR1)], set()),
        ([(0, signal.SIGUSR1), (5 * 10**9, signal.SIGKILL)], set()),
        ([(0, signal.SIGTERM)], {"told_otherwise"}),
        ([(0, signal.SIGUSR1), (4 * 10**9, signal.SIGKILL)], {"grace_cut"}),
        ([(0, signal.SIGKILL)], {"never_asked"}),
    ):
        line = Line(QueuePolicy())
        spec = line.waits(checkpoint_signal="SIGUSR1", grace_s=5)
        line.begins(spec)
        run = Run(
            node="n1", boot_id="b", tenant="blue", job_id=spec.job_id, attempt=1, rank=0,
            began_ns=0, began_boot_ns=0, waited=True, asked=asked,
        )  # fmt: skip
        line.history.runs.append(run)
        ended = RankExited(job_id=spec.job_id, attempt=1, rank=0, reason="preempted", at_ms=1)
        line.commit("JOBS", ended)
        assert codes(check_saving(line.history)) == found
