"""Is what the packer believes what the nodes are, whatever happens to them?

Two cores, one with machine code and one without, live through the same history of jobs, nodes and
expectations. They must decide the same, and as a core would that knew only the state of now.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock_contracts import nodes
from penstock_contracts.expectations import ExpectedShape
from penstock_scheduler.core.events import ExpectationOffered, NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.placing.capacity import Capacity, kinds_of, pack_shape, room_of
from penstock_scheduler.core.placing.placement import place
from penstock_scheduler.core.state import shape_of
from tests.scheduler.driver import Driver, a_job, a_node

NAMES = ("n1", "n2", "n3", "n4", "n5")
GIVEN = (
    (ExpectedShape(4_000, 1, 470, 0, (), 9), ExpectedShape(8_000, 2, 1000, 0, ("L4",), 2)),
    (ExpectedShape(1_000, 1, 230, 20_000, (), 5), ExpectedShape(2_000, 1, 1000, 0, (), 1)),
)
DEMANDS = st.one_of(
    st.fixed_dictionaries({"gpus": st.just(0), "cpu_milli": st.sampled_from((500, 20_000))}),
    st.fixed_dictionaries(
        {
            "gpus": st.just(1),
            "gpu_milli": st.sampled_from((230, 470, 500, 810)),
            "gpu_memory_mib": st.sampled_from((None, 8_000)),
        }
    ),
    st.fixed_dictionaries(
        {
            "gpus": st.integers(1, 4),
            "ranks": st.sampled_from((1, 1, 1, 3)),
            "gpu_models": st.sampled_from(((), ("H100",), ("L4",), ("L4", "H100"))),
            "memory_mib": st.sampled_from((None, 50_000)),
        }
    ),
)
ASKED = tuple(
    shape_of(a_job(0, **demand))
    for demand in (
        {"cpu_milli": 4_000},
        {"gpus": 1, "gpu_milli": 300},
        {"gpus": 1, "gpu_milli": 810, "gpu_memory_mib": 8_000},
        {"gpus": 1, "gpu_models": ("L4",)},
        {"gpus": 3, "memory_mib": 10_000},
        {"gpus": 2, "ranks": 2},
    )
)


class Packed(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        fleet = (a_node("n1", 4), a_node("n2", 2, "L4"), a_node("n3", 2))
        self.drivers = tuple(
            Driver(*fleet, core=SchedulerCore(machine_code=code)) for code in (True, False)
        )
        self.number = 0

    # -- what may happen
    @rule(demand=DEMANDS)
    def submit(self, demand: dict[str, Any]) -> None:
        self.number += 1
        self._both(lambda driver: driver.submit(a_job(self.number, **demand)))

    @rule(which=st.integers(0, 1_000), code=st.sampled_from((0, 1)))
    def end(self, which: int, code: int) -> None:
        state = self.drivers[0].core.state
        held = sorted({lease.job_id for lease in state.leases.values()} & state.jobs.keys())
        if not held:
            return
        job = state.jobs[held[which % len(held)]].spec

        def finish(driver: Driver) -> None:
            driver.start(job)
            for rank in range(job.ranks):
                driver.end(job, rank, code)

        self._both(finish)

    @rule(name=st.sampled_from(NAMES), gpus=st.integers(0, 4), sick=st.integers(0, 15))
    def register(self, name: str, gpus: int, sick: int) -> None:
        """The node is new, or its devices fell ill or recovered, or it came back as another."""
        known = self.drivers[0].core.state.nodes.get(name)
        boot = "boot-1"
        if known is not None and len(known.image.devices) != gpus:
            self._feed(nodes.NodeFenced(name, boot))
            boot = f"boot-{len(self.drivers[0].facts)}"
        described = a_node(name, gpus, "L4" if gpus == 2 else "H100", boot_id=boot)
        devices = tuple(
            nodes.Device(
                uuid=d.uuid, index=d.index, model=d.model, memory_mib=d.memory_mib,
                healthy=not sick >> d.index & 1,
            )
            for d in described.devices
        )  # fmt: skip
        self._feed(nodes.NodeRegistered(_with(described, devices)))

    @rule(name=st.sampled_from(NAMES), what=st.integers(0, 4))
    def change(self, name: str, what: int) -> None:
        fact = (
            nodes.NodeCordoned(name),
            nodes.NodeUncordoned(name),
            nodes.NodeLivenessChanged(name, "lost", "silent"),
            nodes.NodeLivenessChanged(name, "alive", "heard"),
            nodes.NodeRemoved(name),
        )[what]
        self._feed(fact)

    @rule(given=st.sampled_from((None, *GIVEN)))
    def expect(self, given: Any) -> None:
        self._both(lambda driver: driver.feed(ExpectationOffered(given)))

    @rule(seconds=st.sampled_from((1, 70)))
    def pass_time(self, seconds: int) -> None:
        self._both(lambda driver: driver.tick(seconds))

    @rule()
    def start_again(self) -> None:
        """Another instance takes over from a snapshot."""
        for driver, code in zip(self.drivers, (True, False), strict=True):
            core = SchedulerCore(machine_code=code)
            core.restore(driver.core.snapshot())
            driver.core = core

    # -- what must be
    @invariant()
    def both_decided_the_same(self) -> None:
        ours, twins = (driver.facts for driver in self.drivers)
        assert ours == twins

    @invariant()
    def no_device_is_committed_twice(self) -> None:
        state = self.drivers[0].core.state
        held: dict[tuple[str, str], int] = {}
        for lease in state.leases.values():
            for uuid in lease.uuids:
                key = (lease.node, uuid)
                held[key] = held.get(key, 0) + lease.gpu_milli
        assert max(held.values(), default=0) <= 1000
        for name, node in state.nodes.items():
            for (uuid, _, _), free in zip(node.image.devices, node.free, strict=True):
                assert free == 1000 - held.get((name, uuid), 0)

    @invariant()
    def the_packer_knows_every_node_as_it_is(self) -> None:
        for driver in self.drivers:
            state, fleet = driver.core.state, driver.core.state.capacity.packer.fleet
            assert fleet.columns.keys() == state.nodes.keys()
            for name, node in state.nodes.items():
                assert fleet.room(name) == room_of(node, kinds_of(node.image))

    @invariant()
    def what_is_kept_is_what_the_state_of_now_gives(self) -> None:
        for driver in self.drivers:
            state = driver.core.state
            fresh = Capacity(machine_code=False)
            for name in sorted(state.nodes, reverse=True):
                fresh.update(name, state.nodes[name])
            fresh.expect(state.capacity.packer.workload)
            for shape in ASKED:
                packed = pack_shape(shape)
                assert state.capacity.packer.ranking(packed, 9) == fresh.packer.ranking(packed, 9)
                assert place(shape, state.nodes, state.capacity) == place(shape, state.nodes, fresh)

    @invariant()
    def nothing_waits_that_fits(self) -> None:
        state = self.drivers[0].core.state
        for shape in state.line.shapes():
            assert place(shape, state.nodes, state.capacity) is None

    # -- parts
    def _feed(self, fact: nodes.NodeFact) -> None:
        self._both(lambda driver: driver.feed(NodeChanged(fact)))

    def _both(self, step: Any) -> None:
        for driver in self.drivers:
            driver.now_ns += 1
            step(driver)


def _with(described: nodes.NodeDescription, devices: tuple[nodes.Device, ...]) -> Any:
    return msgspec.structs.replace(described, devices=devices)


Packed.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestPacked = Packed.TestCase
