"""Does everything that a node should hold always fit into one message?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock_contracts.jobs import RANKS_MAX
from penstock_contracts.leases import NodeDesired
from penstock_scheduler.core import state
from penstock_scheduler.core.orders.desired import orders_of
from penstock_scheduler.core.orders.room import NODE_UNITS, UNIT_BYTES, order_units
from scheduler.driver import Driver, a_job, a_node

MESSAGE_BYTES_MAX = 1024 * 1024
LARGE = {"A": "x" * 60_000}
MIDDLING = {"A": "x" * 9_000}


def size_of_orders(driver: Driver, node: str) -> int:
    orders = tuple(orders_of(driver.core.state, node).values())
    return len(msgspec.json.encode(NodeDesired(as_of=1, full=True, leases=orders)))


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (40, {"env": LARGE}),
        (3_000, {"cpu_milli": 0}),
        (1, {"ranks": 200, "env": {"A": "x" * 9_000}}),
    ],
)
def test_a_node_gets_no_more_orders_than_one_message_holds(
    count: int, fields: dict[str, Any]
) -> None:
    driver = Driver(a_node("n1", 8))
    jobs = [a_job(number, **fields) for number in range(1, count + 1)]
    for at in range(0, count, 500):
        driver.submit(*jobs[at : at + 500])
    assert size_of_orders(driver, "n1") < MESSAGE_BYTES_MAX
    assert len(driver.core.state.leases) < count * fields.get("ranks", 1)


def test_what_found_no_room_for_its_order_runs_elsewhere_or_after_another() -> None:
    driver = Driver(a_node("n1", 8), a_node("n2", 8))
    jobs = [a_job(number, env=LARGE) for number in range(1, 31)]
    driver.submit(*jobs)
    held = {name: len(node.leases) for name, node in driver.core.state.nodes.items()}
    assert held == {"n1": 12, "n2": 12}
    driver.start(jobs[0])
    driver.end(jobs[0])
    assert len(driver.core.state.line) == 5


def test_sizes_are_rounded_up_a_little_so_that_jobs_stay_alike() -> None:
    sizes = [order_units(a_job(1, env={"A": "x" * length})) for length in range(0, 60_000, 50)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) < 40
    for length, units in zip(range(0, 60_000, 50), sizes, strict=True):
        assert length < units * UNIT_BYTES < 1.4 * (length + 600) + UNIT_BYTES
    assert NODE_UNITS * UNIT_BYTES < 0.85 * MESSAGE_BYTES_MAX


def test_the_end_of_a_gang_that_was_tried_very_often_fits_into_one_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest = len(f'"1000.{RANKS_MAX}.stdout":{1 << 63},')
    assert state.LOG_SIZES_MAX * longest < 0.85 * MESSAGE_BYTES_MAX
    monkeypatch.setattr(state, "LOG_SIZES_MAX", 20)
    driver, job = Driver(a_node("n1", 8)), a_job(ranks=3, retries=9)
    driver.submit(job)
    for _ in range(10):
        driver.start(job)
        for rank in range(job.ranks):
            driver.end(job, rank, code=1, log_bytes={"stdout": 5, "stderr": 6})
    end = driver.facts[-2]
    assert (end.state, end.attempt, len(end.log_bytes)) == ("failed", 10, 20)
    assert {f"10.{rank}.stdout" for rank in range(job.ranks)} <= end.log_bytes.keys()
    assert "1.0.stdout" not in end.log_bytes
