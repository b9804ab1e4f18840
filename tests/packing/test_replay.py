"""Do jobs of a trace come, wait and end as the waiting rule says?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from penstock_scheduler.core.packing.policies import POLICIES
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.simulate.arrivals import compression_for, evened, repeated
from penstock_scheduler.simulate.command import command
from penstock_scheduler.simulate.expectations import known_workload
from penstock_scheduler.simulate.replay import Replay, replay
from penstock_scheduler.simulate.traces import Nodes, Timed
from tests.packing.builders import a_node
from tests.packing.traces import JOB_HEAD, JOB_LINES, jobs_file, nodes_file

WHOLE = PackShape(1_000, 1_000, 1, 1000)
PAIR = PackShape(1_000, 1_000, 2, 1000)
HUGE = PackShape(1_000, 1_000, 3, 1000)


def a_replay(jobs: list[tuple[PackShape, int, int]], **options: Any) -> Replay:
    """(shape, arrival, duration) on a node with two devices."""
    nodes = Nodes({"n": a_node(2)}, {"A": 2}, 2_000)
    timed = [Timed(f"j{i}", *job) for i, job in enumerate(jobs)]
    policy = options.get("policy", "penstock")
    known = known_workload(options.get("workload", "list"), [job.shape for job in timed], nodes)
    compress = options.get("compress", 1.0)
    return replay(nodes, timed, policy, 1, compress, known, lambda done: None)


def test_a_job_waits_until_what_is_in_its_way_has_ended() -> None:
    found = a_replay([(PAIR, 0, 10), (PAIR, 4, 10), (PAIR, 5, 10)])
    assert found.queueing_s == (0.0, 6.0, 15.0)
    assert found.ended_s == 30.0


def test_a_smaller_job_overtakes_one_that_does_not_fit() -> None:
    found = a_replay([(WHOLE, 0, 10), (PAIR, 1, 10), (WHOLE, 2, 3)])
    assert found.queueing_s == (0.0, 0.0, 9.0)


def test_one_in_line_that_still_does_not_fit_holds_nobody_behind_it() -> None:
    jobs = [(WHOLE, 0, 5), (WHOLE, 0, 10), (PAIR, 1, 10), (WHOLE, 2, 3)]
    found = a_replay(jobs)
    assert found.queueing_s == (0.0, 0.0, 3.0, 9.0)


def test_a_job_of_no_duration_takes_nothing_from_those_after_it() -> None:
    found = a_replay([(PAIR, 0, 0), (PAIR, 0, 5), (PAIR, 5, 1)])
    assert found.queueing_s == (0.0, 0.0, 0.0)


def test_a_job_that_could_never_run_is_counted_and_does_not_wait() -> None:
    found = a_replay([(HUGE, 0, 5), (WHOLE, 1, 5)])
    assert found.never_fitted == 1
    assert found.queueing_s == (0.0,)
    assert [moment.waiting for moment in found.moments] == [0, 0]


def test_compressed_arrivals_come_sooner_and_last_as_long() -> None:
    found = a_replay([(PAIR, 100, 10), (PAIR, 140, 10)], compress=20.0)
    assert found.queueing_s == (0.0, 8.0)
    assert found.ended_s == 20.0
    assert found.allocated == 100.0


def test_shares_are_means_over_time() -> None:
    found = a_replay([(WHOLE, 0, 5), (WHOLE, 10, 10)])
    assert found.allocated == 25.0
    assert found.allocated_while_waiting is None
    assert found.allocated_to_end == 37.5


def test_the_share_while_somebody_waits_is_told_apart() -> None:
    found = a_replay([(WHOLE, 0, 8), (PAIR, 4, 2), (WHOLE, 16, 1)])
    assert found.queueing_s == (0.0, 0.0, 4.0)
    assert found.allocated_while_waiting == 50.0
    assert found.allocated == (8 * 50 + 2 * 100) / 16


def test_every_job_starts_under_every_policy_and_also_while_learning() -> None:
    jobs = [((WHOLE, PAIR)[i % 3 == 0], i // 2, i % 7) for i in range(90)]
    for policy in POLICIES:
        for workload in ("list", "online"):
            found = a_replay(jobs, policy=policy, workload=workload)
            assert len(found.queueing_s) == 90
            assert found.line() == a_replay(jobs, policy=policy, workload=workload).line()


def test_nothing_was_asked_where_nothing_could_run() -> None:
    line = a_replay([(HUGE, 0, 5)]).line()
    assert line["queueing_s"] == {"mean": None, "p50": None, "p99": None, "max": None}


def replayed(folder: Path, *options: str) -> Result:
    lines = [f"{line},{i * 10},{i * 10 + 25}" for i, line in enumerate(JOB_LINES)]
    jobs = jobs_file(folder, lines, f"{JOB_HEAD},creation_time,deletion_time")
    files = ["--nodes", str(nodes_file(folder)), "--jobs", str(jobs)]
    return CliRunner().invoke(command, ["replay", *files, *options])


def a_command(folder: Path, *options: str) -> str:
    result = replayed(folder, *options)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_one_line_a_policy(tmp_path: Path) -> None:
    printed = a_command(tmp_path, "--json", "--policy", "penstock", "--policy", "fgd")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["policy"] for line in lines[:-1]] == ["penstock", "fgd"]
    assert [line["jobs"] for line in lines[:-1]] == [6, 6]
    assert lines[0]["over_time"][0][:2] == [0.0, 10.0]


def test_a_repeated_trace_is_one_more_of_each_job_at_another_time() -> None:
    jobs = [Timed(f"j{i}", WHOLE, 100 + i * i, i) for i in range(10)]
    found = repeated(jobs, 3, 5)
    assert found == repeated(jobs, 3, 5) != repeated(jobs, 3, 6)
    assert sorted(job.name for job in found) == sorted([job.name for job in jobs] * 3)
    arrivals = [job.arrival_s for job in found]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= 0
    assert arrivals[-1] <= 81
    assert [job.arrival_s + 100 for job in repeated(jobs, 1, 5)] == [job.arrival_s for job in jobs]


def test_evened_arrivals_keep_their_order_and_their_span() -> None:
    jobs = [Timed(f"j{i}", WHOLE, 100 + i * i, i) for i in range(11)]
    found = evened(jobs)
    assert [job.arrival_s for job in found] == list(range(100, 201, 10))
    assert [job._replace(arrival_s=0) for job in found] == [j._replace(arrival_s=0) for j in jobs]
    assert [job.arrival_s for job in evened([job._replace(arrival_s=7) for job in jobs])] == [
        *range(7, 18)
    ]
    assert evened(jobs[:1]) == jobs[:1]


def test_arrivals_are_compressed_to_the_load_asked_for() -> None:
    jobs = [Timed("j", WHOLE, i * 100, 10) for i in range(101)]
    factor = compression_for(jobs, 2_000, 0.5)
    assert factor is not None
    window_s = 10_000 / factor
    asked = sum(min(10, window_s - i * window_s / 100) for i in range(101))
    assert abs(asked / (2 * window_s) - 0.5) < 1e-6


def test_jobs_that_never_load_a_fleet_so_much_are_told() -> None:
    assert compression_for([Timed("j", WHOLE, i, 10) for i in range(3)], 4_000, 0.8) is None
    assert compression_for([Timed("j", WHOLE, 5, 10)], 1_000, 0.8) is None
    late = [Timed("j", WHOLE, i, 10) for i in (0, 98, 99, 100)]
    assert compression_for(late, 1_000, 1.1) is None, "the last ones ask for next to nothing"


def test_repeats_are_compared_seed_by_seed(tmp_path: Path) -> None:
    options = ("--repeat", "6", "--load", "0.9", "--seeds", "1-2", "--policy", "best_fit", "--even")
    printed = a_command(tmp_path, "--json", *options, "--policy", "random")
    *lines, last = [json.loads(line) for line in printed.splitlines()]
    assert [(line["seed"], line["policy"]) for line in lines] == [
        (seed, policy) for seed in (1, 2) for policy in ("best_fit", "random")
    ]
    assert [line["jobs"] for line in lines] == [36] * 4
    first, second = last["summary"]
    assert "paired_difference" not in first
    waits = [line["queueing_s"]["mean"] for line in lines]
    difference = (waits[1] - waits[0] + waits[3] - waits[2]) / 2
    assert abs(second["paired_difference"]["queueing_mean_s"]["mean"] - difference) < 1e-3


def test_load_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    for options, code in (
        (("--load", "9"), "bad_load"),
        (("--load", "0.5", "--compress", "2"), "bad_load"),
        (("--repeat", "0"), ""),
        (("--load", "nan"), ""),
        (("--compress", "nan"), ""),
    ):
        result = replayed(tmp_path, *options)
        assert result.exit_code == 2, result.output
        assert code in result.output
        assert "Traceback" not in result.output


def test_the_command_prints_a_table_and_the_waiting_rule_for_people(tmp_path: Path) -> None:
    printed = a_command(tmp_path, "--compress", "10", "--workload", "online")
    assert "0 of 6" in printed
    assert "whoever fits may overtake" in printed
