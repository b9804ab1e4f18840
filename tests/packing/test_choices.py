"""Does each policy choose as it says, and does a shape only go where it may?"""

from __future__ import annotations

import pytest

from packing.builders import a_node, a_packer, a_workload
from penstock_scheduler.core.packing.fleet import NodeRoom, empty_node
from penstock_scheduler.core.packing.obstacles import Counts, Free, Nearest, Obstacles, obstacles
from penstock_scheduler.core.packing.packer import HISTORY_MAX, Choice, Packer
from penstock_scheduler.core.packing.policies import POLICIES
from penstock_scheduler.core.packing.rows import ROWS_MIN
from penstock_scheduler.core.packing.shapes import PackShape

HALF = PackShape(1_000, 100, 1, 500)
WHOLE = PackShape(1_000, 100, 1, 1000)


def free(*milli: int, cpu_milli: int = 64_000) -> NodeRoom:
    return NodeRoom(cpu_milli, 64_000, (("A", 16_000),) * len(milli), milli)


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "random"])
def test_equals_go_to_the_first_name(policy: str) -> None:
    nodes = {name: a_node() for name in ("n2", "n10", "n1")}
    for shape in (HALF, WHOLE, PackShape(1_000, 100)):
        assert a_packer(policy, nodes=nodes).choose(shape) == Choice("n1", (0,) * bool(shape.gpus))


@pytest.mark.parametrize("policy", ["penstock", "fgd", "best_fit", "gpu_packing"])
def test_a_share_fills_the_hole_that_it_fits(policy: str) -> None:
    nodes = {"a": free(1000, 1000), "b": free(1000, 500)}
    assert a_packer(policy, nodes=nodes).choose(HALF) == Choice("b", (1,))


def test_chance_draws_from_its_seed_only() -> None:
    nodes = {f"n{i}": a_node() for i in range(9)}
    drawn = []
    for _ in range(2):
        packer = a_packer("random", nodes=nodes)
        drawn.append([packer.choose(HALF) for _ in range(40)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 5


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        (PackShape(0, 0, 1, 1000, None, ("B",)), ["b"]),
        (PackShape(0, 0, 1, 500, 20_000), []),
        (PackShape(0, 0, 1, 500, 8_000), ["a", "c"]),
        (PackShape(0, 0, 1, 500, 8_001), []),
        (PackShape(0, 0, 2, 1000), ["a", "b"]),
        (PackShape(0, 0, 3, 1000), []),
        (PackShape(64_001, 0), []),
        (PackShape(0, 64_001), []),
    ],
)
def test_a_shape_goes_only_where_it_may(shape: PackShape, nodes: list[str]) -> None:
    packer = a_packer(
        nodes={
            "a": empty_node(64_000, 64_000, [("A", 16_000)] * 2),
            "b": empty_node(64_000, 64_000, [("B", None)] * 2),
            "c": empty_node(64_000, 64_000, [("A", 16_000), None]),
        }
    )
    assert sorted(choice.node for _, choice in packer.ranking(shape, 9)) == nodes


def test_a_node_closed_to_one_shape_is_open_to_the_next() -> None:
    packer = a_packer(nodes={"a": a_node(), "b": a_node()})
    assert packer.choose(HALF, packer.mask(["a", "unknown"])) == Choice("b", (0,))
    assert packer.choose(HALF, packer.mask(["a", "b"])) is None
    assert packer.choose(HALF) == Choice("a", (0,))


def test_a_closed_node_keeps_what_is_on_it() -> None:
    packer = a_packer(nodes={"a": a_node(1)})
    choice = packer.choose(HALF)
    assert choice is not None
    packer.take(choice, HALF)
    packer.open("a", False)
    assert packer.choose(HALF) is None
    packer.open("a", True)
    assert packer.fleet.room("a").free_milli[0] == 500
    assert packer.choose(HALF) == choice


def test_a_scarce_model_is_left_to_those_that_need_it() -> None:
    needs_b = PackShape(1_000, 100, 1, 1000, None, ("B",))
    nodes = {"a": a_node(1, model="B"), "b": a_node(1, model="A")}
    packer = Packer(POLICIES["penstock"], a_workload((needs_b, WHOLE)))
    for name, room in nodes.items():
        packer.put(name, room)
    assert packer.choose(WHOLE) == Choice("b", (0,))
    assert packer.choose(needs_b) == Choice("a", (0,))


def test_more_shapes_than_are_kept_are_placed_all_the_same() -> None:
    packer = a_packer(nodes={"a": a_node(8)})
    for cpu_milli in range(2_000):
        assert packer.choose(PackShape(cpu_milli, 0, 1, 100)) is not None
    assert ROWS_MIN < len(packer._rows._rows) <= 1024


def test_a_change_before_many_others_is_not_missed() -> None:
    packer = a_packer(nodes={"a": a_node(1), "b": a_node(1)})
    assert packer.choose(WHOLE) == Choice("a", (0,))
    packer.take(Choice("a", (0,)), WHOLE)
    for change in range(HISTORY_MAX + 1):
        packer.open("b", bool(change % 2))
    packer.open("b", True)
    assert packer.choose(WHOLE) == Choice("b", (0,))


@pytest.mark.parametrize("machine_code", [True, False])
def test_a_node_with_as_many_devices_as_may_be_described_is_filled_to_the_last(
    machine_code: bool,
) -> None:
    wide = a_node(256, cpu_milli=10**7, memory_mib=10**7)
    packer = a_packer(nodes={"wide": wide, "small": a_node(2)}, machine_code=machine_code)
    most = PackShape(1, 1, 200, 1000)
    choice = packer.choose(most)
    assert choice == Choice("wide", tuple(range(200)))
    packer.take(choice, most)
    assert packer.choose(most) is None
    rest = packer.choose(PackShape(1, 1, 56, 1000))
    assert rest == Choice("wide", tuple(range(200, 256)))
    packer.give(choice, most)
    assert packer.fleet.room("wide").free_milli == (1000,) * 256


def test_names_that_leave_no_gap_in_the_order_are_ordered_anew() -> None:
    packer = a_packer()
    for length in range(1, 120):  # each between the last and the one before
        packer.put("a" * length + "b", a_node(1))
    expected = sorted(packer.fleet.columns)
    assert [choice.node for _, choice in packer.ranking(WHOLE, 200)] == expected


def test_units_are_a_size_like_memory() -> None:
    packer = a_packer(nodes={"a": a_node()._replace(units=5), "b": a_node()._replace(units=2)})
    shape = PackShape(0, 0, units=2)
    placed = []
    while (choice := packer.choose(shape)) is not None:
        packer.take(choice, shape)
        placed.append(choice.node)
    assert sorted(placed) == ["a", "a", "b"]
    packer.give(Choice("a", ()), shape)
    assert packer.choose(shape) == Choice("a", ())


def test_ranks_are_planned_together_or_not_at_all() -> None:
    packer = a_packer(nodes={"a": a_node(2), "b": a_node(1)})
    rooms = {name: packer.fleet.room(name) for name in "ab"}
    plan = packer.plan(WHOLE, 3)
    assert plan is not None
    assert sorted(plan) == [Choice("a", (0,)), Choice("a", (1,)), Choice("b", (0,))]
    assert packer.plan(WHOLE, 4) is None
    assert {name: packer.fleet.room(name) for name in "ab"} == rooms


def test_what_is_in_the_way_is_counted_node_by_node() -> None:
    packer = a_packer(
        nodes={
            "closed": a_node()._replace(open=False),
            "other model": a_node(model="B"),
            "small": a_node(1),
            "busy": free(1000, 990),
            "cpu": free(1000, 1000, cpu_milli=10),
            "memory": a_node()._replace(memory_mib=10),
            "units": a_node()._replace(units=0),
            "able": a_node(),
            "gone": a_node(),
        }
    )
    packer.remove("gone")
    shape = PackShape(1_000, 100, 2, 1000, None, ("A",), 1)
    free_now = Free(
        nodes=7, usable=1 + 2 + 2 + 3 * 4, free=1 + 1 + 2 + 3 * 4, most=4, cpu_milli=384_010
    )
    nearest = Nearest("units", 3, 0, 0, 0, 1, 1000)
    assert obstacles(packer, shape) == Obstacles(Counts(1, 0, 2, 1, 1, 1, 1, 1), free_now, nearest)
    found = obstacles(packer, shape, packer.mask(["able", "closed"]))
    assert found.counts == Counts(1, 1, 2, 1, 1, 1, 1, 0)
    assert found.free.free == 1 + 1 + 2 + 2 * 4
    assert obstacles(a_packer(), shape) == Obstacles(Counts(*[0] * 8), Free(0, 0, 0, 0, 0), None)


def test_the_node_that_lacks_least_is_named() -> None:
    rooms = {"b": free(0, 400, 1000), "a": free(0, 300, 1000), "c": free(0, 0, 0)}
    packer = a_packer(nodes=rooms)
    pair = PackShape(1_000, 100, 2, 1000)
    assert obstacles(packer, pair).nearest == Nearest("a", 2, 1, 0, 0, 0, 1000)
    assert obstacles(packer, pair, packer.mask("a")).nearest == Nearest("b", 1, 1, 0, 0, 0, 1000)
    many = PackShape(64_001, 64_003, 1, 1000)
    assert obstacles(packer, many).nearest == Nearest("a", 2, 0, 1, 3, 0, 1000)
    packer.put("b", free(0, 400, 490))
    share = PackShape(1_000, 100, 1, 500)
    assert obstacles(packer, share, packer.mask("ac")).nearest == Nearest("b", 1, 1, 0, 0, 0, 490)
    assert obstacles(packer, PackShape(0, 0, 4, 1000)).nearest is None
