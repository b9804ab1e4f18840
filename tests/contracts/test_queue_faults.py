"""Is a policy of the queue that cannot be obeyed refused, with the rule and the place?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock_contracts.errors import CODES
from penstock_contracts.queue_faults import (
    POLICY_RULES,
    policy_faults,
    pools_of_quotas,
)
from penstock_contracts.queue_policy import (
    QUOTA_DEPTH_MAX,
    QUOTAS_MAX,
    RESERVATIONS_MAX,
    Pool,
    QueuePolicy,
    Quota,
    Reservation,
)

ORG = Quota(name="org", guaranteed_gpu_milli=8_000, maximum_gpu_milli=16_000)
TEAM = Quota(name="team", parent="org", tenant="acme", guaranteed_gpu_milli=5_000)
REST = Quota(name="rest", parent="org", tenant="beta", guaranteed_gpu_milli=3_000)
POOLS = (Pool(name="h100", node_labels={"gpu": "h100"}), Pool(name="all"))
SOUND = QueuePolicy(pools=POOLS, quotas=(ORG, TEAM, REST))


def check(policy: QueuePolicy, *then: str, **nodes: dict[str, str]) -> None:
    """`then`: code and path of every fault."""
    found = policy_faults(policy, nodes)
    assert [f"{fault.code} {fault.path}" for fault in found] == list(then)
    assert all(fault.sentence for fault in found)
    assert {fault.code for fault in found} <= {"invalid_field", *POLICY_RULES} <= set(CODES)


def quotas(*more: Quota) -> QueuePolicy:
    return replace(SOUND, quotas=(*SOUND.quotas, *more))


def window(name: str, start: int, end: int, *nodes: str, **more: Any) -> Reservation:
    return Reservation(name=name, start_ms=start, end_ms=end, nodes=nodes, **more)


def reserving(*reservations: Reservation) -> QueuePolicy:
    return replace(SOUND, reservations=reservations)


def test_a_policy_that_can_be_obeyed_has_no_faults() -> None:
    check(SOUND)
    check(QueuePolicy())
    check(QueuePolicy(quotas=(Quota(name="a", pool="default", tenant="acme"),)))


def test_names_are_given_once() -> None:
    check(
        replace(SOUND, pools=(*POOLS[:1], Pool(name="h100"))),
        "name_repeated pools[1].name",
    )
    check(quotas(Quota(name="team", tenant="third")), "name_repeated quotas[3].name")
    twice = window("w", 0, 5, "a"), window("w", 5, 9, "a")
    check(reserving(*twice), "name_repeated reservations[1].name")


def test_a_pool_that_could_get_no_node_is_refused() -> None:
    narrow = Pool(name="fast", node_labels={"gpu": "h100", "rack": "r1"})
    check(replace(SOUND, pools=(narrow, *POOLS)))
    check(
        replace(SOUND, pools=(*POOLS, narrow)),
        "pool_without_nodes pools[2].node_labels",
    )
    assert "h100" in policy_faults(replace(SOUND, pools=(*POOLS, narrow)))[0].sentence


def test_quotas_hang_on_pools_and_parents_that_are_there() -> None:
    check(quotas(Quota(name="x", pool="nowhere", tenant="t")), "unknown_pool quotas[3].pool")
    check(quotas(Quota(name="x", parent="no", tenant="t")), "unknown_parent quotas[3].parent")
    elsewhere = Quota(name="x", parent="org", pool="all", tenant="t")
    check(quotas(elsewhere), "other_pool quotas[3].pool")
    check(quotas(replace(elsewhere, pool="h100")))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_circle_of_quotas_is_told_once_and_in_full(length: int) -> None:
    names = [f"q{index}" for index in range(length)]
    ring = [Quota(name=n, parent=names[(i + 1) % length]) for i, n in enumerate(names)]
    outside = Quota(name="below", parent=names[-1], tenant="t")
    check(quotas(outside, *ring), "quota_cycle quotas[4].parent")
    sentence = policy_faults(quotas(outside, *ring))[0].sentence
    assert sentence.endswith(" → ".join((*names, names[0])))


def test_a_tree_is_only_so_deep() -> None:
    def chain(levels: int) -> tuple[Quota, ...]:
        inner = [Quota(name=f"c{i}", parent=f"c{i - 1}" if i else "") for i in range(levels - 1)]
        return (*inner, Quota(name="leaf", parent=f"c{levels - 2}", tenant="t"))

    check(quotas(*chain(QUOTA_DEPTH_MAX)))
    last = 3 + QUOTA_DEPTH_MAX
    check(quotas(*chain(QUOTA_DEPTH_MAX + 1)), f"quota_too_deep quotas[{last}].parent")


def test_each_quota_counts_jobs_that_no_other_counts() -> None:
    check(quotas(Quota(name="x", project="p")), "project_without_tenant quotas[3].tenant")
    check(quotas(Quota(name="x", tenant="acme")), "counted_twice quotas[3].tenant")
    check(quotas(Quota(name="x", tenant="acme", project="p")))
    check(quotas(Quota(name="x", tenant="acme", pool="all")))
    below = Quota(name="x", parent="team", tenant="acme", project="p")
    check(quotas(below), "parent_of_tenant quotas[1].tenant")


def test_no_more_is_guaranteed_than_there_is_above() -> None:
    more = Quota(name="x", parent="org", tenant="t", guaranteed_gpu_milli=1)
    check(quotas(more), "guarantees_over_parent quotas[3].guaranteed_gpu_milli")
    assert "8.001 GPUs are guaranteed below org" in policy_faults(quotas(more))[0].sentence
    check(quotas(replace(more, guaranteed_gpu_milli=0)))
    own = Quota(name="x", tenant="t", guaranteed_gpu_milli=2, maximum_gpu_milli=1)
    check(quotas(own), "guarantee_over_maximum quotas[3].guaranteed_gpu_milli")


@pytest.mark.parametrize("field", ["maximum_gpu_milli", "maximum_cpu_milli", "queued_max"])
def test_a_limit_that_one_above_would_always_reach_first_is_refused(field: str) -> None:
    top = Quota(name="top", **{field: 100})  # type: ignore[arg-type]
    middle = Quota(name="middle", parent="top")
    leaf = Quota(name="x", parent="middle", tenant="t", **{field: 101})  # type: ignore[arg-type]
    check(quotas(top, middle, leaf), f"maximum_over_parent quotas[5].{field}")
    check(quotas(top, middle, replace(leaf, **{field: 100})))


def test_reservations_say_what_and_when() -> None:
    check(reserving(window("w", 5, 5, "a")), "ends_before_start reservations[0].end_ms")
    check(reserving(window("w", 5, 6)), "reserves_nothing reservations[0].nodes")
    both = window("w", 5, 6, "a", node_labels={"rack": "r1"})
    check(reserving(both), "reserves_nothing reservations[0].node_labels")
    whose = window("w", 5, 6, "a", project="p")
    check(reserving(whose), "project_without_tenant reservations[0].tenant")


def test_no_node_is_reserved_twice_for_the_same_time() -> None:
    first = window("first", 10, 20, "a", "b")
    check(reserving(first, window("next", 20, 30, "a")))
    check(reserving(first, window("beside", 10, 20, "c")))
    again = window("again", 19, 30, "c", "b")
    check(reserving(first, again), "reservations_overlap reservations[1].nodes")
    assert "first has node b" in policy_faults(reserving(first, again))[0].sentence


def test_labels_that_one_node_may_have_overlap() -> None:
    rack = window("rack", 10, 20, node_labels={"rack": "r1"})
    model = window("model", 10, 20, node_labels={"gpu": "h100"})
    check(reserving(rack, window("other", 10, 20, node_labels={"rack": "r2"})))
    check(reserving(rack, model), "reservations_overlap reservations[1].node_labels")


def test_a_named_node_overlaps_with_the_labels_that_it_has() -> None:
    rack = window("rack", 10, 20, node_labels={"rack": "r1"})
    named = window("named", 10, 20, "a")
    check(reserving(rack, named))
    check(reserving(rack, named), a={"rack": "r2"})
    overlap = "reservations_overlap reservations[1].nodes"
    check(reserving(rack, named), overlap, a={"rack": "r1", "gpu": "h100"})


def test_a_policy_fits_one_entry_of_the_journal() -> None:
    names = tuple(f"{'n' * 50}{index}" for index in range(1_000))
    many = [window(f"r{i}", i, i + 1, *names) for i in range(RESERVATIONS_MAX)]
    check(reserving(*many), "policy_too_large ")


def test_a_quota_without_a_pool_is_in_that_of_its_parent() -> None:
    tree = (
        Quota(name="leaf", parent="mid", tenant="t"),
        Quota(name="mid", parent="top"),
        Quota(name="top", pool="all"),
        Quota(name="alone", tenant="u"),
    )
    in_all = {"leaf": "all", "mid": "all", "top": "all"}
    assert pools_of_quotas(replace(SOUND, quotas=tree)) == {**in_all, "alone": "h100"}
    assert pools_of_quotas(QueuePolicy(quotas=tree[3:])) == {"alone": "default"}
    pools = (*POOLS[:1], Pool(name="default"))
    assert pools_of_quotas(QueuePolicy(pools=pools, quotas=tree[3:])) == {"alone": "default"}


token = st.sampled_from(["a", "b", "c", "d", "e", ""])
some_quota = st.builds(
    Quota,
    name=token.filter(bool),
    parent=token,
    pool=st.sampled_from(["", "", "all", "h100", "no"]),
    tenant=token,
    project=st.sampled_from(["", "", "p"]),
    guaranteed_gpu_milli=st.integers(0, 3),
    maximum_gpu_milli=st.none() | st.integers(0, 5),
    queued_max=st.none() | st.integers(0, 3),
)


@settings(max_examples=300)
@given(st.lists(some_quota, max_size=7))
def test_what_is_accepted_is_a_tree_in_which_guarantees_sum_up(given: list[Quota]) -> None:
    """Checked anew, in other words than the rules are written in."""
    policy = replace(SOUND, quotas=tuple(given))
    if policy_faults(policy):
        return
    by_name = {quota.name: quota for quota in given}
    assert len(by_name) == len(given)
    for quota in given:
        path = [quota]
        while path[-1].parent:
            path.append(by_name[path[-1].parent])
            assert len(path) <= QUOTA_DEPTH_MAX
        below = [one for one in given if one.parent == quota.name]
        assert not (below and quota.tenant)
        if below:
            total = sum(one.guaranteed_gpu_milli for one in below)
            assert total <= quota.guaranteed_gpu_milli
        for above in path[1:]:
            if quota.maximum_gpu_milli is not None and above.maximum_gpu_milli is not None:
                assert quota.maximum_gpu_milli <= above.maximum_gpu_milli


def test_the_largest_trees_are_looked_at_without_going_round_in_them() -> None:
    """A chain as long as there may be quotas, and a circle of as many."""
    names = [f"q{index}" for index in range(QUOTAS_MAX)]
    chain = [Quota(name=n, parent=names[i - 1] if i else "") for i, n in enumerate(names)]
    codes = {fault.code for fault in policy_faults(quotas(*chain))}
    assert codes == {"quota_too_deep"}
    ring = [Quota(name=n, parent=names[i - 1]) for i, n in enumerate(names)]
    check(quotas(*ring), "quota_cycle quotas[3].parent")


def test_as_many_reservations_as_there_may_be_are_compared_with_each_other() -> None:
    half = RESERVATIONS_MAX // 2
    named = [window(f"n{i}", 0, 9, *(f"n{i}-{j}" for j in range(200))) for i in range(half)]
    racks = [window(f"r{i}", 0, 9, node_labels={"rack": f"r{i}"}) for i in range(half)]
    nodes = {f"m{i}": {"rack": f"r{i % half}"} for i in range(2_000)}
    check(reserving(*named, *racks), **nodes)
    overlap = f"reservations_overlap reservations[{RESERVATIONS_MAX - 1}].node_labels"
    check(reserving(*named, *racks), overlap, **nodes, **{"n0-0": {"rack": f"r{half - 1}"}})
