"""Does the index over nodes find what a look at every node would find?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts import nodes
from penstock_contracts.journal import JobRejected
from penstock_scheduler.core import requests
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.placing import capacity
from penstock_scheduler.core.placing.capacity import Capacity
from penstock_scheduler.core.placing.placement import fits_when_empty, place, ranks_on
from penstock_scheduler.core.state import Shape, new_node, shape_of
from tests.scheduler.driver import Driver, a_job, a_node

NAMES = ("n1", "n2", "n3", "n4")
DEMANDS = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 4),
        "ranks": st.integers(1, 3),
        "cpu_milli": st.sampled_from([None, 1_000, 40_000]),
        "gpu_models": st.sampled_from([(), ("H100",), ("L4",), ("A100", "L4")]),
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), DEMANDS),
        st.tuples(st.just("end"), st.integers(0, 100)),
        st.tuples(st.just("hardware"), st.sampled_from(NAMES), st.integers(0, 4)),
        st.tuples(st.just("cordon"), st.sampled_from(NAMES)),
        st.tuples(st.just("uncordon"), st.sampled_from(NAMES)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    ),
    max_size=30,
)


def feed(driver: Driver, fact: nodes.NodeFact) -> None:
    driver.feed(NodeChanged(fact))


def play(driver: Driver, steps: list[tuple]) -> None:
    for number, (what, *details) in enumerate(steps, 1):
        if what == "submit":
            driver.submit(a_job(number, **details[0]))
        elif what == "end" and driver.core.state.leases:
            leases = sorted(driver.core.state.leases.values(), key=lambda lease: lease.id)
            job = driver.core.state.jobs.get(leases[details[0] % len(leases)].job_id)
            if job is not None:
                driver.start(job.spec)
                driver.end(job.spec)
        elif what == "hardware":
            name, gpus = details
            model = "L4" if gpus % 2 else "H100"
            feed(driver, nodes.NodeRegistered(a_node(name, gpus, model, boot_id=f"boot-{number}")))
        elif what == "cordon":
            feed(driver, nodes.NodeCordoned(details[0]))
        elif what == "uncordon":
            feed(driver, nodes.NodeUncordoned(details[0]))
        elif what == "remove":
            feed(driver, nodes.NodeRemoved(details[0]))


def listed(capacity: Capacity) -> list[list[str]]:
    return sorted(sorted(alike.images) for alike in capacity.kinds())


@settings(max_examples=200, deadline=None)
@given(STEPS, st.lists(DEMANDS, min_size=1, max_size=4))
def test_it_finds_the_same_places_however_nodes_came_and_knows_what_could_ever_run(
    steps: list[tuple], demands: list[dict]
) -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 4), a_node("n3", 2, "L4"))
    play(driver, steps)
    state = driver.core.state
    fresh = Capacity()
    for name in sorted(state.nodes, reverse=True):
        fresh.update(name, state.nodes[name])
    fresh.expect(state.capacity.packer.workload)
    assert listed(state.capacity) == listed(fresh)
    for demand in demands:
        shape = shape_of(a_job(99, **demand))
        placed = place(shape, state.nodes, state.capacity)
        assert placed == place(shape, state.nodes, fresh)
        fits = [node for node in state.nodes.values() if node.schedulable]
        assert (placed is not None) == (
            sum(len(ranks_on(shape, node, shape.ranks)) for node in fits) >= shape.ranks
        )
        empty = [new_node(node.image) for node in state.nodes.values()]
        room = sum(len(ranks_on(shape, node, shape.ranks)) for node in empty)
        assert fits_when_empty(shape, state.capacity) == (room >= shape.ranks)


def test_nodes_with_the_same_hardware_are_one_kind_until_the_last_of_them_goes() -> None:
    driver = Driver(*(a_node(f"n{number}", 8) for number in range(100)), a_node("other", 2))
    kinds = driver.core.state.capacity.kinds
    assert sorted(alike.count for alike in kinds()) == [1, 100]
    feed(driver, nodes.NodeRegistered(a_node("other", 8)))
    assert [alike.count for alike in kinds()] == [101]
    for number in range(100):
        feed(driver, nodes.NodeRemoved(f"n{number}"))
    feed(driver, nodes.NodeRemoved("other"))
    assert not list(kinds())


def test_whether_a_shape_can_ever_run_is_asked_once_for_all_its_jobs(monkeypatch) -> None:
    driver = Driver(*(a_node(f"n{number}", 8) for number in range(20)))
    asked = []

    def counting(shape: Shape, capacity: Capacity) -> bool:
        asked.append(shape)
        return fits_when_empty(shape, capacity)

    monkeypatch.setattr(requests, "fits_when_empty", counting)
    jobs = [a_job(number, gpus=9) for number in range(50)]
    facts = driver.submit(*jobs)
    assert sum(isinstance(fact, JobRejected) for fact in facts) == 50
    assert len(asked) == 1
    feed(driver, nodes.NodeRegistered(a_node("large", 16)))
    driver.tick(10)
    facts = driver.submit(a_job(77, gpus=9))
    assert not any(isinstance(fact, JobRejected) for fact in facts), "a new node has room for it"


def test_kinds_of_devices_that_are_no_more_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(capacity, "KINDS_MAX", 8)
    driver = Driver(a_node("n1", 2), a_node("n2", 2))
    driver.submit(a_job(1, gpus=1, gpu_milli=400))
    for number in range(50):
        described = a_node("n2", 2, f"model-{number}", boot_id=f"boot-{number}")
        feed(driver, nodes.NodeRegistered(described))
        packer = driver.core.state.capacity.packer
        assert len(packer.fleet.kinds) <= 9
    assert packer.fleet.room("n2").devices == (("model-49", 81_920),) * 2
    driver.submit(a_job(2, gpus=1, gpu_models=("model-49",)))
    assert {lease.node for lease in driver.core.state.leases.values()} == {"n1", "n2"}
