"""Are all ranks placed, as near and as far apart as asked, whenever that is possible at all?"""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given, settings

from penstock_contracts.asks import LEVELS, LINK, NODE
from penstock_scheduler.core.placing import topology
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.placing.gangs import place_gang
from penstock_scheduler.core.placing.wishes import closed_columns, could_ever
from tests.scheduler.gang_world import (
    Machine,
    Reference,
    World,
    a_shape,
    closed_nodes,
    demands,
    fleets,
    hold,
)


def place(world: World, shape):
    closed = closed_columns(shape, world.nodes, world.packer.fleet, world.topology)
    return place_gang(shape, world.nodes, world.packer, world.topology, closed)


@settings(max_examples=600, deadline=None)
@given(fleets, demands)
def test_a_gang_goes_where_trying_everything_finds_room_and_as_near_as_that_finds(
    fleet, demand
) -> None:
    world, shape = World(fleet, machine_code=False), a_shape(**demand)
    reference = Reference(world.nodes, shape)
    level = reference.narrowest()
    placed = place(world, shape)
    if level is None:
        assert placed is None
        return
    assert placed is not None, level
    assert [one.rank for one in placed] == list(range(shape.ranks))
    deal = Counter(one.node for one in placed)
    assert reference.spread_kept(deal)
    assert not set(closed_nodes(shape, world.nodes)) & deal.keys()
    lies_in = reference.lies_in(placed, level)
    assert lies_in, level
    if level not in (NODE, ""):
        fullest = min(map(reference.fullness, reference.able(level)))
        assert fullest in map(reference.fullness, lies_in)
    if shape.spread in ("", NODE):
        assert len(deal) in map(reference.nodes_needed, lies_in), "ranks are kept together"
    for one in placed:
        models = {m for uuid, m, _ in world.nodes[one.node].image.devices if uuid in one.devices}
        assert not shape.gpu_models or models <= set(shape.gpu_models)
        assert 0 <= one.local_rank < deal[one.node]
    hold(world.nodes, shape, placed)
    assert could_ever(shape, world.topology), "what runs is possible"


@settings(max_examples=300, deadline=None)
@given(fleets, demands)
def test_what_could_ever_run_is_what_an_empty_fleet_has_room_for(fleet, demand) -> None:
    empty = [
        machine._replace(free=(1000,) * len(machine.free), cpu_milli=16_000, open=True)
        for machine in fleet
    ]
    shape = a_shape(**demand)
    reference = Reference(World(empty).nodes, shape)
    assert could_ever(shape, World(fleet).topology) == (reference.narrowest() is not None)


@settings(max_examples=100, deadline=None)
@given(fleets, demands)
def test_machine_code_and_arrays_place_the_same(fleet, demand) -> None:
    shape = a_shape(**demand)
    one, other = World(fleet, machine_code=True), World(fleet, machine_code=False)
    assert place(one, shape) == place(other, shape)


def a_machine(
    rack: str = "", site: str = "", *, gpus: int = 2, links: tuple[str, ...] = (), **fields
) -> Machine:
    known = {
        "models": ("H100",) * gpus,
        "links": links or ("",) * gpus,
        "free": (1000,) * gpus,
        "cpu_milli": 16_000,
        "open": True,
        "zone": "",
        **fields,
    }
    return Machine(rack=rack, site=site, **known)


def nodes_of(world: World, **fields) -> list[str]:
    placed = place(world, a_shape(**fields))
    return [] if placed is None else [one.node for one in placed]


def test_ranks_that_one_node_can_hold_stay_on_the_best_such_node() -> None:
    world = World([a_machine(gpus=8), a_machine(gpus=2), a_machine(gpus=4)])
    best = world.packer.choose(pack_shape(a_shape(gpus=1)))
    assert best is not None
    assert set(nodes_of(world, ranks=2, gpus=1)) == {best.node}
    assert Counter(nodes_of(world, ranks=11, gpus=1)) == {"n0": 8, "n2": 3}


def test_a_demand_for_one_rack_waits_where_a_wish_takes_the_site_then_whatever_there_is() -> None:
    fleet = [a_machine("r1", "s1"), a_machine("r2", "s1"), a_machine("r1", "s2")]
    world = World(fleet)
    assert len(set(nodes_of(world, ranks=2, gpus=2, near="rack", near_required=True))) == 0
    assert nodes_of(world, ranks=2, gpus=2, near="rack") == ["n0", "n1"], "racks of one site"
    assert len(nodes_of(world, ranks=3, gpus=2, near="rack")) == 3
    assert nodes_of(world, ranks=3, gpus=2, near="site", near_required=True) == []


def test_a_rack_of_another_site_with_the_same_name_is_another_rack() -> None:
    world = World([a_machine("r1", "s1"), a_machine("r1", "s2"), a_machine("r1", "s2")])
    assert nodes_of(world, ranks=2, gpus=2, near="rack", near_required=True) == ["n1", "n2"]


def test_nodes_that_do_not_say_where_they_are_meet_no_demand_of_two_of_them() -> None:
    world = World([a_machine(), a_machine()])
    for asks in ({"near": "rack"}, {"near": "site"}, {"near": "link"}):
        assert nodes_of(world, ranks=2, gpus=2, near_required=True, **asks) == []
    assert nodes_of(world, ranks=2, gpus=1, near="rack", near_required=True) in (
        ["n0", "n0"],
        ["n1", "n1"],
    ), "one node is in one rack whatever that is called"
    assert nodes_of(world, ranks=2, gpus=1, spread="rack") == []
    world = World([a_machine(), a_machine("r1"), a_machine("r2")])
    assert sorted(nodes_of(world, ranks=2, gpus=1, spread="rack")) == ["n1", "n2"]
    assert nodes_of(world, ranks=3, gpus=1, spread="rack") == [], "it may lie in r1 or r2"


def test_of_several_racks_with_room_the_fullest_is_taken() -> None:
    world = World([a_machine("r1"), a_machine("r1"), a_machine("r2"), a_machine("r2", gpus=3)])
    asks = {"ranks": 2, "gpus": 2, "near": "rack"}
    assert nodes_of(world, **asks) == ["n0", "n1"]
    full = World(
        [a_machine("r1"), a_machine("r1"), a_machine("r2", free=(0, 1000)), a_machine("r2", gpus=2)]
    )
    assert nodes_of(full, ranks=2, gpus=1, near="rack") in (["n3", "n3"], ["n2", "n3"])


def test_all_devices_of_a_rank_lie_in_one_link_domain_when_that_is_asked() -> None:
    links = ("a", "b", "a", "b")
    world = World([a_machine(gpus=4, links=links, free=(0, 1000, 1000, 1000))])
    (one,) = place(world, a_shape(gpus=2, near=LINK, near_required=True))
    assert one.devices == ("n0-1", "n0-3")
    assert place(world, a_shape(gpus=3, near=LINK, near_required=True)) is None
    assert place(world, a_shape(gpus=3, near=LINK)) is not None


def test_a_link_domain_may_reach_over_nodes() -> None:
    fleet = [a_machine(links=("wide", "wide")) for _ in range(3)]
    world = World([a_machine(), *fleet])
    placed = nodes_of(world, ranks=3, gpus=2, near=LINK, near_required=True)
    assert sorted(placed) == ["n1", "n2", "n3"]
    assert nodes_of(world, ranks=4, gpus=2, near=LINK, near_required=True) == []
    assert len(nodes_of(world, ranks=3, gpus=1, near=LINK, spread="node")) == 3


def test_no_more_ranks_than_allowed_go_to_one_rack_however_much_room_it_has() -> None:
    world = World([a_machine("r1", gpus=8), a_machine("r2", gpus=2), a_machine("r2", gpus=2)])
    asks = {"gpus": 1, "spread": "rack", "spread_ranks": 3}
    assert Counter(nodes_of(world, ranks=6, **asks)) == {"n0": 3, "n1": 2, "n2": 1}
    assert nodes_of(world, ranks=7, **asks) == []
    world = World([a_machine("r1"), a_machine("r1"), a_machine("r2"), a_machine("r2")])
    racks = Counter(name in ("n0", "n1") for name in nodes_of(world, ranks=6, **asks))
    assert racks == {True: 3, False: 3}


def test_it_does_not_matter_in_which_order_nodes_came_nor_which_are_gone() -> None:
    here, wide = ("x", "x"), ("wide", "wide")
    fleet = [a_machine("r1", "s1", links=here, zone="a"), a_machine("r2", "s1", links=wide)]
    fleet += [a_machine("r2", "s2", links=wide), a_machine("r1", "s1", zone="a"), a_machine("r2")]
    world, again = World(fleet), World([a_machine("old"), a_machine("older")])
    for name in ("n1", "n0"):
        again.packer.remove(name)
    again.topology.remove("n0")
    again.topology.layout(again.packer.fleet)
    for name in reversed(world.nodes):
        again.put(name, world.nodes[name])
    again.topology.put(msgspec.structs.replace(again.nodes["n0"].image, node="unheard-of"))
    assert again.packer.fleet.names != again.topology.empty().names
    for asks in (
        *({"near": level, "near_required": True} for level in LEVELS),
        *({"spread": level} for level in ("node", "rack", "site")),
        {"node_labels": {"zone": "a"}},
    ):
        shape = a_shape(ranks=2, gpus=2, **asks)
        assert place(world, shape) == place(again, shape), asks
        assert (place(again, shape) is None) == (asks.get("near") == "node"), asks


def test_names_of_domains_that_no_node_has_any_more_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(topology, "SPARE_NAMES_MAX", 20)
    world = World([a_machine("r1"), a_machine("r2", links=("wide", "wide"))])
    image = world.nodes["n0"].image
    for number in range(200):
        labels = {"rack": f"r{number}"}
        world.topology.put(msgspec.structs.replace(image, labels=labels))
        assert len(world.topology.layout(world.packer.fleet).names) <= 30
    world.topology.put(image)
    assert nodes_of(world, ranks=2, gpus=2, spread="rack") == ["n0", "n1"]
    assert nodes_of(world, ranks=2, gpus=1, near=LINK, near_required=True) == ["n1", "n1"]


def test_ranks_that_share_devices_fill_the_fullest_first() -> None:
    world = World([a_machine(gpus=3, free=(1000, 600, 500))])
    placed = place(world, a_shape(ranks=4, gpus=1, gpu_milli=300))
    assert placed is not None
    assert [one.devices for one in placed] == [("n0-2",), ("n0-1",), ("n0-1",), ("n0-0",)]
    assert place(world, a_shape(ranks=7, gpus=1, gpu_milli=300)) is None


def test_jobs_kept_apart_and_labels_close_nodes() -> None:
    world = World([a_machine(zone="a"), a_machine(zone="b"), a_machine(zone="a")])
    world.nodes["n0"].apart["/database"] = 1
    shape = a_shape(ranks=2, apart="database", node_labels={"zone": "a"}, spread="node")
    assert closed_nodes(shape, world.nodes) == ("n0", "n1")
    assert place(world, shape) is None
    shy = msgspec.structs.replace(a_shape(), avoid=("n1", "gone"))
    assert closed_nodes(shy, world.nodes) == ("n1",)
    closed = closed_columns(shy, world.nodes, world.packer.fleet, world.topology)
    assert closed.tolist() == [False, True, False]
    assert could_ever(shape, world.topology), "those it keeps apart from end"
    assert not could_ever(shape, world.topology, without=["n2"])


def test_the_packer_agrees_on_what_one_rank_needs() -> None:
    shape = a_shape(gpus=1, gpu_milli=300, gpu_memory_mib=24_000, memory_mib=7)
    pack = pack_shape(shape)
    assert (pack.gpus, pack.gpu_milli, pack.device_memory_mib) == (1, 300, 80_000)
    assert (pack.cpu_milli, pack.memory_mib, pack.units) == (100, 7, shape.order_units)
