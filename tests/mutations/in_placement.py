"""Which bugs can be planted where the scheduler finds places for jobs?

In what it knows of room, of nearness and of what is expected, and in what it grants. It does not
know what becomes of a grant.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CORE = "services/penstock_scheduler/core"

IN_PLACEMENT = (
    Mutation(
        name="packer not told of a release",
        file=f"{_CORE}/fold.py",
        old="        node.drop(lease)\n        self.capacity.update(lease.node, node)\n",
        new="        node.drop(lease)\n",
        breaks="devices stay taken that nobody holds",
    ),
    Mutation(
        name="packer not told of a node's return",
        file=f"{_CORE}/folds/nodes.py",
        old="    state.capacity.update(fact.node, node)\n    state.line.reconsider(node)\n",
        new="    if old is None or old.image.devices != fact.devices or not node.open:\n"
        "        state.capacity.update(fact.node, node)\n"
        "    state.line.reconsider(node)\n",
        breaks="a node that was away gets no work any more",
    ),
    Mutation(
        name="packer not told of a device that is sick",
        file=f"{_CORE}/placing/capacity.py",
        old="        if entry is None or entry.image is not node.image or",
        new="        if entry is None or entry.image.devices != node.image.devices or",
        breaks="work is placed where it cannot run",
    ),
    Mutation(
        name="scores kept though a node has changed",
        file=f"{_CORE}/packing/packer.py",
        old="        if row.version != self._version:\n",
        new="        if row.version < 0:\n",
        breaks="room is given away that is taken",
    ),
    Mutation(
        name="unknown memory is enough",
        file=f"{_CORE}/packing/workload.py",
        old="        memory_mib is not None and memory_mib >= key.device_memory_mib\n",
        new="        memory_mib is None or memory_mib >= key.device_memory_mib\n",
        breaks="a job gets a device that may be too small",
    ),
    Mutation(
        name="closed nodes open to single ranks",
        file=f"{_CORE}/placing/placement.py",
        old="packer.choose(pack_shape(shape), closed)",
        new="packer.choose(pack_shape(shape))",
        breaks="labels and jobs to keep apart from count for nothing",
    ),
    Mutation(
        name="apart only from what will come",
        file=f"{_CORE}/placing/wishes.py",
        old="[name for name, node in nodes.items() if shape.apart in node.apart]",
        new="[]",
        breaks="jobs share a node that were to be kept apart",
    ),
    Mutation(
        name="near demanded is near wished",
        file=f"{_CORE}/placing/domains.py",
        old="            yield from (near,) if self.shape.near_required else"
        " LEVELS[LEVELS.index(near) :]\n        if not self.shape.near_required:\n"
        "            yield ANYWHERE\n",
        new="            yield from LEVELS[LEVELS.index(near) :]\n        yield ANYWHERE\n",
        breaks="ranks are far from each other that must not be",
    ),
    Mutation(
        name="racks known by their own name alone",
        file=f"{_CORE}/placing/topology.py",
        old="self._number((site, rack))",
        new="self._number((rack,))",
        breaks="racks of two sites are taken for one",
    ),
    Mutation(
        name="spread counted by node",
        file=f"{_CORE}/placing/gangs.py",
        old="            beside = places.spreads == spread\n",
        new="            beside = places.columns == places.columns[place]\n",
        breaks="more ranks are in one rack than a job allows",
    ),
    Mutation(
        name="demands forgotten when a job is called impossible",
        file=f"{_CORE}/placing/placement.py",
        old="        and (not is_picky(option) or could_ever(option, capacity.topology))\n",
        new="",
        breaks="a job waits for ever for what there is not",
    ),
    Mutation(
        name="alternatives forgotten when a job is called impossible",
        file=f"{_CORE}/placing/placement.py",
        old="        for option in (shape, *shape.alternatives)\n    )\n",
        new="        for option in (shape,)\n    )\n",
        breaks="a job is rejected that could run",
    ),
    Mutation(
        name="alternative granted with the sizes of the first choice",
        file=f"{_CORE}/granting.py",
        old="    taken = (shape, *shape.alternatives)[placed.alternative]\n",
        new="    taken = shape\n",
        breaks="a device is shared by more than fit",
    ),
    Mutation(
        name="alternative taken and not told",
        file=f"{_CORE}/granting.py",
        old="        job.tenant,\n        placed.alternative,\n",
        new="        job.tenant,\n",
        breaks="a program believes to be on other devices than it is",
    ),
    Mutation(
        name="what is learned is no fact",
        file=f"{_CORE}/machine.py",
        old="            decide_due(state, now_ns)\n",
        new="            [state.capacity.expect(state.expectation.fold(fact))\n"
        "             for fact in decide_due(state, now_ns)][:0]\n",
        breaks="whoever takes over chooses other places",
    ),
    Mutation(
        name="what is expected is in no snapshot",
        file=f"{_CORE}/machine.py",
        old="                expected=state.expectation.snapshot(),\n",
        new="",
        breaks="a restart forgets what it has learned",
    ),
)
