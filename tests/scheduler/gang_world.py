"""A small fleet with racks, sites and link domains, and what is found on it by trying everything.

`World` builds nodes, packer and topology; `Reference` looks at every way to deal ranks to nodes. It
knows the rules of nearness and spread, and nothing of how the product follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from penstock_contracts.asks import LEVELS
from penstock_contracts.journal import NodeImaged, RankPlacement
from penstock_scheduler.core.packing.fleet import NodeRoom
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.placing.topology import Topology
from penstock_scheduler.core.state import Node, Shape, new_node, shape_of
from tests.scheduler.driver import a_job

MODELS = ("H100", "L4")
PLAIN = {"gpus": 1, "ranks": 2}


class Machine(NamedTuple):
    """What a test says of a node."""

    rack: str
    site: str
    models: tuple[str, ...]
    links: tuple[str, ...]
    free: tuple[int, ...]
    cpu_milli: int
    open: bool
    zone: str


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    count = draw(st.integers(0, 4))
    return Machine(
        draw(st.sampled_from(["", "r1", "r2"])),
        draw(st.sampled_from(["", "s1", "s2"])),
        tuple(draw(st.sampled_from(MODELS)) for _ in range(count)),
        tuple(draw(st.sampled_from(["", "here-0", "here-1", "wide"])) for _ in range(count)),
        tuple(draw(st.sampled_from([0, 300, 1000, 1000, 1000])) for _ in range(count)),
        draw(st.sampled_from([500, 2_000, 16_000])),
        draw(st.sampled_from([True, True, True, False])),
        draw(st.sampled_from(["", "a", "b"])),
    )


fleets = st.lists(machines(), min_size=1, max_size=4)
demands = st.fixed_dictionaries(
    {
        "ranks": st.integers(1, 4),
        "gpus": st.integers(0, 2),
        "cpu_milli": st.sampled_from([0, 500, 1_000]),
        "memory_mib": st.sampled_from([0, 30_000]),
        "gpu_models": st.sampled_from([(), ("H100",)]),
    },
    optional={
        "gpu_milli": st.sampled_from([300, 500]),
        "near": st.sampled_from(LEVELS),
        "near_required": st.booleans(),
        "spread": st.sampled_from(["node", "rack", "site"]),
        "spread_ranks": st.integers(1, 2),
        "node_labels": st.just({"zone": "a"}),
    },
).filter(lambda fields: a_job(1, **fields).fault() is None)


def an_image(name: str, machine: Machine) -> NodeImaged:
    links = tuple(f"{name}/{link}" if "here" in link else link for link in machine.links)
    labels = {"rack": machine.rack, "site": machine.site, "zone": machine.zone}
    return NodeImaged(
        node=name,
        boot_id="boot",
        cpu_milli=16_000,
        memory_mib=64_000,
        devices=tuple((f"{name}-{i}", model, 80_000) for i, model in enumerate(machine.models)),
        labels={key: value for key, value in labels.items() if value},
        links=links if any(links) else (),
    )


class World:
    """A fleet as the scheduler holds it."""

    def __init__(self, fleet: list[Machine], *, machine_code: bool = True) -> None:
        self.nodes: dict[str, Node] = {}
        self.packer = Packer(machine_code=machine_code)
        self.topology = Topology()
        for number, machine in enumerate(fleet):
            name = f"n{number}"
            node = new_node(an_image(name, machine))
            node.free, node.cpu_free = list(machine.free), machine.cpu_milli
            node.open = machine.open
            self.put(name, node)

    def put(self, name: str, node: Node) -> None:
        self.nodes[name] = node
        kinds = tuple((model, memory_mib) for _, model, memory_mib in node.image.devices)
        free = tuple(node.free)
        room = NodeRoom(
            node.cpu_free, node.memory_free, kinds, free, node.open, node.order_units_free
        )
        self.packer.put(name, room)
        self.topology.put(node.image)


def a_shape(**fields: object) -> Shape:
    return shape_of(a_job(1, **fields))


class Reference:
    """Everything by trying. Of each node only: how many ranks some of its devices can hold."""

    def __init__(self, nodes: dict[str, Node], shape: Shape) -> None:
        self.nodes, self.shape = nodes, shape

    def domains(self, level: str) -> dict[object, dict[str, list[int]]]:
        """Domain → node → the devices of it that lie in the domain."""
        found: dict[object, dict[str, list[int]]] = {}
        for name, node in self.nodes.items():
            labels, count = node.image.labels, len(node.image.devices)
            site, rack = labels.get("site", ""), labels.get("rack", "")
            if level == "link":
                links = node.image.links or ("",) * count
                for index, link in enumerate(links):
                    key = link or (name, index)
                    found.setdefault(key, {}).setdefault(name, []).append(index)
                continue
            key = {
                "node": name,
                "rack": (site, rack) if rack else [name],
                "site": site if site else [name],
                "": "",
            }[level]
            known = tuple(key) if isinstance(key, list) else ("known", key)
            found.setdefault(known, {})[name] = list(range(count))
        return found

    def ranks_on(self, name: str, devices: list[int]) -> int:
        node, shape = self.nodes[name], self.shape
        labels = dict(shape.node_labels)
        if not node.open or any(node.image.labels.get(k) != v for k, v in labels.items()):
            return 0
        limit = node.cpu_free // shape.cpu_milli if shape.cpu_milli else shape.ranks
        limit = min(limit, node.memory_free // shape.memory_mib) if shape.memory_mib else limit
        if not shape.gpus:
            return min(limit, shape.ranks)
        models = [node.image.devices[i][1] for i in devices]
        free = [
            node.free[i]
            for i, model in zip(devices, models, strict=True)
            if not shape.gpu_models or model in shape.gpu_models
        ]
        if shape.gpu_milli < 1000:
            return min(limit, sum(milli // shape.gpu_milli for milli in free))
        return min(limit, free.count(1000) // shape.gpus)

    def deals(self, domain: dict[str, list[int]]) -> Iterator[dict[str, int]]:
        """All ways to deal the ranks to the nodes of a domain."""
        most = {name: self.ranks_on(name, devices) for name, devices in domain.items()}
        for counts in product(*(range(min(n, self.shape.ranks) + 1) for n in most.values())):
            deal = {name: count for name, count in zip(most, counts, strict=True) if count}
            if sum(counts) == self.shape.ranks and self.spread_kept(deal):
                yield deal

    def spread_kept(self, deal: dict[str, int]) -> bool:
        shape = self.shape
        if not shape.spread or shape.ranks <= shape.spread_ranks:
            return True
        sums: dict[object, int] = {}
        for name, count in deal.items():
            labels = self.nodes[name].image.labels
            if shape.spread == "node":
                where: object = name
            elif not labels.get(shape.spread):
                return False
            else:
                rack = labels["rack"] if shape.spread == "rack" else ""
                where = (labels.get("site", ""), rack)
            sums[where] = sums.get(where, 0) + count
        return max(sums.values()) <= shape.spread_ranks

    def able(self, level: str) -> list[dict[str, list[int]]]:
        """The domains of a level that can hold all ranks."""
        return [one for one in self.domains(level).values() if any(self.deals(one))]

    def levels(self) -> tuple[str, ...]:
        near = self.shape.near
        outward = LEVELS[LEVELS.index(near) :] if near else ()
        return (near,) if self.shape.near_required else (*outward, "")

    def narrowest(self) -> str | None:
        return next((level for level in self.levels() if self.able(level)), None)

    def lies_in(self, placed: tuple[RankPlacement, ...], level: str) -> list[dict]:
        """The able domains that hold all devices, or nodes, of a placement."""
        used: dict[str, set[str]] = {}
        for one in placed:
            used.setdefault(one.node, set()).update(one.devices)
        return [
            domain
            for domain in self.able(level)
            if all(
                name in domain
                and uuids <= {self.nodes[name].image.devices[i][0] for i in domain[name]}
                for name, uuids in used.items()
            )
        ]

    def nodes_needed(self, domain: dict[str, list[int]]) -> int:
        """On how few nodes of a domain all ranks have room, when these only lack room."""
        most = sorted(self.ranks_on(name, devices) for name, devices in domain.items())
        left = self.shape.ranks
        cap = self.shape.spread_ranks if self.shape.spread else left
        while left > 0:
            left -= min(most.pop(), cap)
        return len(domain) - len(most)

    def fullness(self, domain: dict[str, list[int]]) -> tuple[int, int]:
        """(free milli-GPU that the shape could use, free milli-CPU) where some rank fits."""
        gpu = cpu = 0
        for name, devices in domain.items():
            node = self.nodes[name]
            if self.ranks_on(name, devices):
                cpu += node.cpu_free
                gpu += sum(
                    node.free[i]
                    for i in devices
                    if not self.shape.gpu_models
                    or node.image.devices[i][1] in self.shape.gpu_models
                )
        return gpu if self.shape.gpus else 0, cpu


def hold(nodes: dict[str, Node], shape: Shape, placed: tuple[RankPlacement, ...]) -> None:
    """Takes what was placed; raises when there is not so much."""
    for one in placed:
        node = nodes[one.node]
        node.cpu_free -= shape.cpu_milli
        node.memory_free -= shape.memory_mib
        node.order_units_free -= shape.order_units
        assert len(set(one.devices)) == len(one.devices) == shape.gpus
        for index, (uuid, _, _) in enumerate(node.image.devices):
            if uuid in one.devices:
                node.free[index] -= shape.gpu_milli
        assert node.open and min([*node.free, node.cpu_free, node.memory_free]) >= 0


def resized(shape: Shape, ranks: int) -> Shape:
    return msgspec.structs.replace(shape, ranks=ranks)


def closed_nodes(shape: Shape, nodes: dict[str, Node]) -> tuple[str, ...]:
    """The nodes a job of this shape must not use now, by name, looked at one by one."""
    return tuple(
        name
        for name, node in sorted(nodes.items())
        if name in shape.avoid
        or shape.apart in node.apart
        or any(node.image.labels.get(key) != value for key, value in shape.node_labels)
    )
