"""Do tenants ask for every kind of place, and for nothing that contradicts itself?"""

from __future__ import annotations

import random

from penstock_contracts.asks import LEVELS
from penstock_contracts.jobs import JobSpec
from tests.simulation.terrain import draw_ground
from tests.simulation.wishes import PICKY_RUN_S_MAX, draw_wishes
from tests.simulation.workload import draw_job, script_of

COUNT = 2_000


def _jobs(seed: int) -> list[JobSpec]:
    rng, wishes = random.Random(seed), random.Random(seed)
    plain = [draw_job(rng, 10**18, gpus_max=8, pace=5) for _ in range(COUNT)]
    return [draw_wishes(wishes, spec, gpus_max=8) for spec in plain]


def test_every_kind_of_wish_is_drawn_and_each_job_is_sound() -> None:
    jobs = _jobs(1)
    assert [spec.fault() for spec in jobs] == [None] * COUNT
    assert {spec.near for spec in jobs} == {"", *LEVELS}
    assert {spec.near for spec in jobs if spec.near_required} == {*LEVELS}
    assert {spec.spread for spec in jobs} == {"", "node", "rack", "site"}
    assert {len(spec.alternatives) for spec in jobs} == {0, 2}
    assert any(spec.node_labels for spec in jobs)
    assert any(spec.apart for spec in jobs)
    assert any(spec.gpu_memory_mib and spec.gpu_milli < 1000 for spec in jobs)
    assert any(spec.ranks > 1 and spec.gpu_milli < 1000 for spec in jobs)
    picky = [spec for spec in jobs if spec.near_required or spec.spread or spec.apart]
    assert COUNT // 10 < len(picky) < COUNT // 3


def test_a_program_uses_what_its_choice_gives_it_and_is_soon_done_where_many_may_wait() -> None:
    for spec in _jobs(2):
        script = script_of(spec.command)
        if script is None:
            continue
        assert script.gpu_milli == spec.gpu_milli
        assert script.alternatives_milli == tuple(one.gpu_milli for one in spec.alternatives)
        assert not spec.near_required or script.run_s <= PICKY_RUN_S_MAX


def test_hosts_stand_in_racks_of_sites_some_unknown_and_their_devices_are_linked() -> None:
    rng = random.Random(3)
    grounds = [draw_ground(rng, f"n{i}", gpus=4, model="H100") for i in range(200)]
    racks = {(g.labels.get("site"), g.labels.get("rack")) for g in grounds}
    assert len(racks) == 9
    assert {len(set(g.links)) for g in grounds} == {1, 2}
    assert {g.links[0][:1] for g in grounds} >= {"", "n", "o", "b"}
    assert {len(set(g.models)) for g in grounds} == {1, 2}
    assert all(len(g.links) == len(g.models) == 4 for g in grounds)
