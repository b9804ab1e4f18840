"""Does bad input of every kind leave every service alive and unchanged?

Each target gets a few thousand inputs in every run, and in the long one its share of a million. The
counts are printed. A failure tells its seed and the shortest input found.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from fuzz import (
    agent_targets,
    client_targets,
    inventory_targets,
    joining_targets,
    link_targets,
    metering_targets,
    scheduler_targets,
    storage_targets,
)
from fuzz.budget_target import Budgets
from fuzz.depot_target import Depots
from fuzz.gateway_target import BODIES, Gateway
from fuzz.money_target import Money
from fuzz.policy_target import Policies
from fuzz.runner import Tally, Target, fuzz
from penstock_contracts.registry import MESSAGES
from penstock_gateway.operations import OPERATIONS

SEED = 20_261_123
LONG_SEEDS = 4
"""The long run's share of a target, each with a seed of its own."""


class Share(NamedTuple):
    """How many inputs a target gets in every run, and in each part of the long one."""

    target: Callable[[], Any]
    short: int
    long: int


SHARES: tuple[Share, ...] = (
    Share(scheduler_targets.Requests, 4_000, 60_000),
    Share(scheduler_targets.Reports, 4_000, 70_000),
    Share(scheduler_targets.NodeEntries, 2_000, 15_000),
    Share(Budgets, 2_000, 15_000),
    Share(Policies, 1_000, 10_000),
    Share(link_targets.Heartbeats, 3_000, 25_000),
    Share(link_targets.Questions, 2_000, 15_000),
    Share(inventory_targets.Descriptions, 4_000, 25_000),
    Share(inventory_targets.Wishes, 3_000, 15_000),
    Share(inventory_targets.Questions, 2_000, 5_000),
    Share(joining_targets.Joining, 2_000, 15_000),
    Share(metering_targets.Usage, 4_000, 35_000),
    Share(metering_targets.IntoLedger, 300, 3_000),
    Share(agent_targets.Orders, 3_000, 25_000),
    Share(client_targets.Reading, 3_000, 15_000),
    Share(client_targets.Answers, 2_000, 10_000),
    Share(storage_targets.SmallState, 2_000, 10_000),
    Share(storage_targets.LedgerQuestions, 300, 1_500),
    Share(Money, 300, 3_000),
    Share(Gateway, 3_000, 30_000),
    Share(Depots, 1_500, 15_000),
)
NOT_READ: dict[str, str] = {
    "node_sample": "shown to people; no service of ours reads it",
    "usage_metered": "read by billing systems outside; no service of ours reads it",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every refusal is logged; hundreds of thousands of them are of no use."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def run(share: Share, seed: int, count: int) -> Tally:
    target: Target = share.target()
    try:
        return fuzz(target, seed, count)
    finally:
        close = getattr(target, "close", None)
        if close is not None:
            close()


def name_of(share: Share) -> str:
    return str(getattr(share.target, "name", share.target.__name__))


@pytest.mark.parametrize("share", SHARES, ids=name_of)
def test_bad_input_is_refused_and_changes_nothing(share: Share) -> None:
    tally = run(share, SEED, share.short)
    assert tally.inputs == share.short
    assert tally.refused > share.short // 20
    assert tally.accepted > share.short // 50, (
        "the inputs are so bad that they test only the decoder"
    )


@pytest.mark.long
def test_a_million_bad_inputs_are_refused_and_change_nothing() -> None:
    total = 0
    print()
    for share in SHARES:
        tallies = [run(share, SEED + part, share.long) for part in range(1, LONG_SEEDS + 1)]
        inputs, accepted = (sum(part) for part in zip(*(t[1:] for t in tallies), strict=True))
        print(f"{tallies[0].target:24} {inputs:9} inputs {inputs - accepted:9} refused "
              f"{accepted:9} taken  0 crashes")  # fmt: skip
        total += inputs
    print(f"{'in all':24} {total:9} inputs")
    assert total >= 1_000_000


def test_every_message_that_somebody_reads_is_given_to_a_target() -> None:
    given = {message for share in SHARES for message in share.target.messages}
    assert {message.name for message in MESSAGES} - given - NOT_READ.keys() == set()
    assert not given & NOT_READ.keys()


def test_every_operation_of_the_http_api_is_given_to_the_gateway() -> None:
    for operation in OPERATIONS:
        path = re.compile(re.sub(r"\{\w+\}", "[^/?]+", operation.path) + r"(\?.*)?")
        lines = [line.split(" ") for line in BODIES]
        assert any(m == operation.method and path.fullmatch(p) for m, p in lines), operation.name
