"""Does an explanation agree with what happens?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts import nodes
from penstock_contracts.explanations import Explanation, Obstacles, Shortfall
from penstock_contracts.jobs import CPU_MILLI_DEFAULT, QUEUED
from penstock_contracts.journal import LeaseGranted
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.packing.obstacles import obstacles
from penstock_scheduler.core.packing.shapes import row_key
from penstock_scheduler.core.packing.workload import may_use
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.placing.wishes import closed_columns
from penstock_scheduler.core.state import Job, Shape
from penstock_scheduler.core.telling import reasons
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.core.telling.reasons import Reasons
from penstock_scheduler.core.telling.waits import obstacles_of
from tests.scheduler.driver import Driver, a_job, a_node

NAMES = ("n1", "n2", "n3", "n4")
ASKS = st.one_of(
    st.fixed_dictionaries(
        {
            "gpus": st.integers(0, 4),
            "ranks": st.sampled_from([1, 1, 1, 2, 3]),
            "cpu_milli": st.sampled_from([None, 1_000, 40_000]),
            "gpu_models": st.sampled_from([(), (), ("H100",), ("L4",)]),
        }
    ),
    st.fixed_dictionaries(
        {"gpus": st.just(1), "gpu_milli": st.sampled_from([250, 470, 600]), "apart": st.just("x")}
    ),
    st.fixed_dictionaries({"gpus": st.just(1), "gpu_milli": st.sampled_from([250, 470, 600, 810])}),
    st.fixed_dictionaries({"gpus": st.just(1), "node_labels": st.just({"rack": "r1"})}),
    st.fixed_dictionaries(
        {
            "gpus": st.just(2),
            "ranks": st.just(2),
            "near": st.just("rack"),
            "near_required": st.booleans(),
        }
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), ASKS),
        st.tuples(st.just("submit"), ASKS),
        st.tuples(st.just("end"), st.integers(0, 100)),
        st.tuples(st.just("hardware"), st.sampled_from(NAMES), st.integers(0, 4)),
        st.tuples(st.just("cordon"), st.sampled_from(NAMES)),
        st.tuples(st.just("uncordon"), st.sampled_from(NAMES)),
    ),
    max_size=25,
)


class Watched(Driver):
    """Asks of every job that waits why, before every decision."""

    def feed(self, *events: object) -> list[Any]:
        self.seq += 1
        new: list[Any] = []
        for event in events:
            new += self._fold(self.core.decide(event, self.now_ns, self.seq))
        while True:
            told = {job.spec.job_id: self.explained(job) for job in self.waiting()}
            facts = self.core.settle(self.now_ns, self.seq)
            new += self._fold(facts)
            if not facts:
                assert all(why.code != "waiting_behind" for why in told.values())
                return new
            self.agrees(facts[0], told)

    def waiting(self) -> list[Job]:
        return [job for job in self.core.state.jobs.values() if job.state == QUEUED]

    def explained(self, job: Job, kept: Reasons | None = None) -> Explanation:
        state = self.core.state
        rooms = {name: state.capacity.packer.fleet.room(name) for name in state.nodes}
        why = explain(state, job, self.core.reasons if kept is None else kept)
        packer = state.capacity.packer
        assert rooms == {name: packer.fleet.room(name) for name in state.nodes}
        for place in why.places:
            assert sum(place.parts.values()) == place.score
        for one in why.obstacles:
            counted = (one.closed, one.left_out, one.devices, one.busy, one.cpu, one.memory)
            assert sum(counted) + one.orders + one.able == one.nodes == len(state.nodes)
        return why

    def agrees(self, grant: LeaseGranted, told: dict[str, Explanation]) -> None:
        before = told[grant.job_id]
        first = grant.ranks[0]
        assert before.code == "waiting_behind"
        told_nodes = ", ".join(sorted({rank.node for rank in grant.ranks}))
        assert f": {told_nodes} in the next round" in before.sentence
        if len(grant.ranks) == 1:
            assert [place.chosen for place in before.places].index(True) == 0
            assert (before.places[0].node, before.places[0].devices) == (first.node, first.devices)
            assert any(one.able for one in before.obstacles)
        job = self.core.state.jobs[grant.job_id]
        remembered, forgotten = self.explained(job), self.explained(job, Reasons())
        assert (remembered.as_of, forgotten.as_of) == ("decision", "now")
        assert remembered.places == before.places
        assert remembered.considered == before.considered == forgotten.considered
        assert forgotten.places[: len(before.places)] == before.places


def play(driver: Driver, steps: list[tuple]) -> None:
    state = driver.core.state
    for number, (what, *details) in enumerate(steps, 1):
        if what == "submit":
            driver.submit(a_job(number, **details[0]))
        elif what == "end" and state.leases:
            leases = sorted(state.leases.values(), key=lambda lease: lease.id)
            job = state.jobs.get(leases[details[0] % len(leases)].job_id)
            if job is not None:
                driver.start(job.spec)
                for rank in range(job.spec.ranks):
                    driver.end(job.spec, rank)
        elif what == "hardware":
            name, gpus = details
            labels = {"site": "s", "rack": f"r{gpus % 2}"}
            node = a_node(name, gpus, "L4" if gpus % 3 else "H100", labels=labels)
            fact = nodes.NodeRegistered(msgspec.structs.replace(node, boot_id=f"boot-{number}"))
            driver.feed(NodeChanged(fact))
        elif what in ("cordon", "uncordon") and details[0] in state.nodes:
            kind = nodes.NodeCordoned if what == "cordon" else nodes.NodeUncordoned
            driver.feed(NodeChanged(kind(details[0])))


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_who_is_told_a_place_gets_it_and_who_is_told_none_waits(steps: list[tuple]) -> None:
    play(Watched(a_node("n1", 4), a_node("n2", 2, labels={"rack": "r1", "site": "s"})), steps)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_what_would_do_does(steps: list[tuple]) -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 2))
    play(driver, steps)
    for job in driver.core.state.jobs.values():
        if job.state != QUEUED:
            continue
        shape = job.shape
        for option, found in zip(
            (shape, *shape.alternatives), obstacles_of(shape, driver.core.state), strict=True
        ):
            if found.nearest is not None:
                assert would_do(driver, option, found.nearest)


def would_do(driver: Driver, shape: Shape, nearest: Shortfall) -> bool:
    """Whether a rank fits the node once it has what it lacks."""
    state = driver.core.state
    packer, pack = state.capacity.packer, pack_shape(shape)
    closed = closed_columns(shape, state.nodes, packer.fleet, state.capacity.topology)
    room = packer.fleet.room(nearest.node)
    usable = [
        index
        for index, kind in enumerate(room.devices)
        if kind is not None and may_use(row_key(pack), kind)
    ]
    freed = list(room.free_milli)
    for index in sorted(usable, key=lambda i: freed[i])[: nearest.devices]:
        freed[index] = 1000
    able = obstacles(packer, pack, closed).counts.able
    packer.put(
        nearest.node,
        room._replace(
            free_milli=tuple(freed),
            cpu_milli=room.cpu_milli + nearest.cpu_milli,
            memory_mib=room.memory_mib + nearest.memory_mib,
            units=room.units + nearest.orders,
        ),
    )
    fits = obstacles(packer, pack, closed).counts.able == able + 1
    packer.put(nearest.node, room)
    return fits


def waiting_for(driver: Driver, job: Any) -> Explanation:
    driver.submit(job)
    return explain(driver.core.state, driver.core.state.jobs[job.job_id], driver.core.reasons)


def test_a_wait_says_what_would_do() -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 4), a_node("n3", 1))
    driver.submit(a_job(1, gpus=3), a_job(2, gpus=3))
    why = waiting_for(driver, a_job(3, gpus=2))
    assert why.sentence == (
        "waiting for 2 GPU(s): would do: 1 more GPU(s) free on n1, as on 1 other(s); "
        "3 of 9 usable GPU(s) free, at most 1 on one node"
    )
    assert why.obstacles == (
        Obstacles(
            needed="2 GPU(s)",
            nodes=3,
            devices=1,
            busy=2,
            nodes_open=3,
            devices_usable=9,
            devices_free=3,
            devices_free_most=1,
            cpu_milli_free=9 * 16_000 - 2 * CPU_MILLI_DEFAULT,
            nearest=Shortfall(node="n1", nodes=2, devices=1),
        ),
    )


def test_a_share_that_waits_is_told_how_much_of_a_device_is_free() -> None:
    driver = Driver(a_node("n1", 1))
    driver.submit(a_job(1, gpus=1, gpu_milli=600))
    why = waiting_for(driver, a_job(2, gpus=1, gpu_milli=500))
    assert "would do: 100/1000 of a GPU more free on n1" in why.sentence
    assert why.obstacles[0].nearest == Shortfall(node="n1", nodes=1, devices=1, milli_free=400)


def test_each_alternative_has_its_own_obstacles() -> None:
    from penstock_contracts.asks import Alternative

    driver = Driver(a_node("n1", 2), a_node("n2", 4, "A100"))
    driver.submit(a_job(1, gpus=1, gpu_models=("H100",)), a_job(2, gpus=4, gpu_models=("A100",)))
    choices = (Alternative(gpus=4, gpu_models=("A100",), speed_milli=800),)
    why = waiting_for(driver, a_job(3, gpus=2, gpu_models=("H100",), alternatives=choices))
    assert why.needed == "2 GPU(s) of H100 or 4 GPU(s) of A100"
    assert [one.needed for one in why.obstacles] == ["2 GPU(s) of H100", "4 GPU(s) of A100"]
    assert "would do: 1 more GPU(s) free on n1;" in why.sentence
    driver.start(a_job(2))
    driver.end(a_job(2))
    state = driver.core.state
    why = explain(state, state.jobs[a_job(3).job_id], driver.core.reasons)
    assert (why.needed, why.alternative) == ("4 GPU(s) of A100", 1)


def test_a_gang_is_told_how_many_of_its_ranks_would_fit_together() -> None:
    labels = [{"site": "s", "rack": rack} for rack in ("r1", "r1", "r2")]
    driver = Driver(*(a_node(f"n{i}", 2, labels=labels[i]) for i in range(3)))
    driver.submit(a_job(1, gpus=1, node_labels={"rack": "r1"}))
    job = a_job(2, gpus=2, ranks=2, near="rack", near_required=True)
    why = waiting_for(driver, job)
    assert why.code == "waiting_for_devices"
    assert why.obstacles[0].ranks_fit == 1
    assert "1 of 2 rank(s) would fit now" in why.sentence
    assert "2 ranks x 2 GPU(s) (all in one rack)" in why.sentence
    assert "one more rank would fit with 1 more GPU(s) free on n0" in why.sentence


def test_the_oldest_decisions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "REASONS_MAX", 2)
    driver = Driver(a_node("n1", 8))
    jobs = [a_job(number, gpus=1) for number in range(3)]
    driver.submit(*jobs)
    state = driver.core.state
    told = [explain(state, state.jobs[job.job_id], driver.core.reasons) for job in jobs]
    assert [why.as_of for why in told] == ["now", "decision", "decision"]
    assert [why.considered for why in told] == [1, 1, 1]
