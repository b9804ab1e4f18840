"""Are the policies that are drawn in order, and the spoilt ones not?"""

from __future__ import annotations

import random

from penstock_contracts.queue_faults import policy_faults
from penstock_contracts.queue_policy import QueuePolicy
from tests.simulation.policies import change_policy, draw_policy, spoil

TENANTS, NODES = ("ada", "bo", "cy", "dee"), tuple(f"node-{number:02d}" for number in range(20))
NOW_MS = 1_767_224_100_000


def drawn(seed: int) -> QueuePolicy:
    return draw_policy(random.Random(seed), TENANTS, NODES, NOW_MS)


def test_a_policy_that_is_drawn_can_be_obeyed_and_so_can_what_is_made_of_it() -> None:
    for seed in range(300):
        policy = drawn(seed)
        assert policy_faults(policy) == (), seed
        changed = change_policy(random.Random(seed), policy, TENANTS, NODES, NOW_MS)
        assert policy_faults(changed) == (), seed


def test_a_policy_that_is_spoilt_cannot_be() -> None:
    for seed in range(300):
        spoilt = spoil(random.Random(seed), drawn(seed))
        assert policy_faults(spoilt) or any(quota.weight < 1 for quota in spoilt.quotas), seed


def test_policies_differ_in_all_that_can_be_chosen() -> None:
    policies = [drawn(seed) for seed in range(300)]
    pools = [pool for policy in policies for pool in policy.pools]
    assert {pool.order for pool in pools} == {"fifo", "skip", "hold", "tiered"}
    assert {pool.backfill for pool in pools} == {"none", "easy", "conservative"}
    assert {pool.preempt for pool in pools} == {"none", "reclaim", "all"}
    assert any(quota.parent for policy in policies for quota in policy.quotas)
    assert any(policy.reservations for policy in policies)
