"""What does `penstock simulate queue` read, refuse and print?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import JobView
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from penstock_scheduler.simulate.command import command
from penstock_scheduler.simulate.queue_command import POLICY_NAMES
from penstock_scheduler.simulate.queue_jobs import more_nodes, philly_fleets
from penstock_scheduler.simulate.queue_policies import NAMES
from penstock_scheduler.simulate.what_if import compare
from tests.scheduler.driver import a_node

PHILLY_JOBS = """\
timestamp,duration,num_gpus,gpu_time,cluster
2017-10-09 07:00:10,50.0,16,800.0,b
2017-10-09 07:00:00,100.0,8,800.0,a
2017-10-09 07:00:20,10.5,8,84.0,a
2017-10-09 07:00:30,30.0,1,30.0,gone
2017-10-09 07:00:40,30.0,24,30.0,a
"""
PHILLY_NODES = "vc,node num\na,2\nb,4\nc,1\n"


def philly(tmp_path: Path, jobs: str = PHILLY_JOBS, nodes: str = PHILLY_NODES) -> list[str]:
    (tmp_path / "jobs.csv").write_text(jobs)
    (tmp_path / "nodes.csv").write_text(nodes)
    files = ["--jobs", str(tmp_path / "jobs.csv"), "--nodes", str(tmp_path / "nodes.csv")]
    return [*files, "--format", "philly"]


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["queue", *arguments])


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.output
    return result.output


def a_view(number: int, came_s: int, took_s: int, **fields: Any) -> JobView:
    spec = JobSpec(job_id=ulid(10**12 + came_s, number), command=("train",), **fields)
    return JobView(
        job_id=spec.job_id,
        tenant="acme",
        state="succeeded",
        attempt=1,
        spec=spec,
        submitted_ms=10**12 + 1000 * came_s,
        started_ms=10**12 + 10**9,
        finished_ms=10**12 + 10**9 + 1000 * took_s,
    )


NODES = [NodeView(description=a_node("n1", gpus=2), liveness="alive")]


def test_each_virtual_cluster_of_the_philly_trace_is_a_fleet_of_its_own(tmp_path: Path) -> None:
    files = philly(tmp_path)
    fleets, left_out = philly_fleets(Path(files[1]), Path(files[3]), 0.5, on_nodes=False)
    assert [(fleet.name, len(fleet.nodes), len(fleet.jobs)) for fleet in fleets] == [
        ("a", 1, 2),
        ("b", 2, 1),
    ]
    assert left_out == 2
    first, second = fleets[0].jobs
    assert (first.arrival_ms, second.arrival_ms, second.duration_ms) == (0, 20_000, 10_500)
    assert (first.spec.ranks, first.spec.gpus, first.gpu_milli) == (8, 1, 8_000)
    on_nodes, _ = philly_fleets(Path(files[1]), Path(files[3]), 0.5, on_nodes=True)
    assert (on_nodes[1].jobs[0].spec.ranks, on_nodes[1].jobs[0].spec.gpus) == (2, 8)


def test_what_is_told_of_each_policy_is_a_line_of_json_and_then_how_much_of_the_gap_it_closes(
    tmp_path: Path,
) -> None:
    more = "".join(f"2017-10-09 07:01:{10 + n},{90 - 10 * n}.0,8,0,a\n" for n in range(8))
    given = ("--scale", "0.5", "--policy", "fifo", "--policy", "sjf", "--policy", "penstock")
    found = lines(simulate(*philly(tmp_path, PHILLY_JOBS + more), *given, "--json"))
    fifo, sjf, ours, total = found
    assert [line["policy"] for line in (fifo, sjf, ours)] == ["fifo", "sjf", "penstock"]
    assert fifo["jobs"] == 11
    assert fifo["gpus"] == 24
    assert fifo["left_out"] == 2
    assert fifo["never_ran"] == 0
    assert sjf["queueing_s"]["mean"] < fifo["queueing_s"]["mean"]
    assert fifo["makespan_s"] == sjf["makespan_s"]
    assert {"mean", "p50", "p99", "max"} == set(fifo["completion_s"])
    closed = {one["policy"]: one["gap_closed_percent"] for one in total["summary"]}
    assert closed["fifo"] == 0
    assert closed["sjf"] == 100


def test_a_person_gets_a_table(tmp_path: Path) -> None:
    result = simulate(*philly(tmp_path), "--policy", "fifo")
    assert result.exit_code == 0
    assert "WAIT MEAN S" in result.output
    assert "2 jobs could not be tried" in result.output


def test_a_mesh_s_own_jobs_and_nodes_are_read_as_they_were_printed(tmp_path: Path) -> None:
    views = [a_view(n, n, 10 * (n + 1), gpus=2) for n in range(4)]
    waiting = msgspec.structs.replace(a_view(9, 9, 1), started_ms=None, finished_ms=None)
    (tmp_path / "jobs.json").write_bytes(msgspec.json.encode([*views, waiting]))
    (tmp_path / "nodes.json").write_bytes(b"\n".join(msgspec.json.encode(one) for one in NODES))
    files = ("--jobs", str(tmp_path / "jobs.json"), "--nodes", str(tmp_path / "nodes.json"))
    (line, _) = lines(simulate(*files, "--policy", "fifo", "--json"))
    assert (line["jobs"], line["left_out"], line["gpus"]) == (4, 1, 2)
    assert line["queueing_s"]["max"] == 10 + 20 + 30 - 3


def test_a_policy_of_quotas_is_read_and_one_that_is_none_is_refused(tmp_path: Path) -> None:
    quotas = (Quota(name="q", pool="default", tenant="a", maximum_gpu_milli=4_000),)
    policy = QueuePolicy(pools=(Pool(name="default"),), quotas=quotas)
    path = tmp_path / "mine.json"
    path.write_bytes(msgspec.json.encode(policy))
    (line, _) = lines(simulate(*philly(tmp_path), "--policy-file", str(path), "--json"))
    assert line["policy"] == "mine"
    assert line["never_ran"] == 2  # more than a maximum ever allows
    path.write_bytes(msgspec.json.encode({"quotas": [{"name": "q", "parent": "q"}]}))
    assert "quotas[0]" in refusal(simulate(*philly(tmp_path), "--policy-file", str(path)))
    path.write_text("{")
    assert "bad_value" in refusal(simulate(*philly(tmp_path), "--policy-file", str(path)))


@pytest.mark.parametrize(
    ("jobs", "nodes", "said"),
    [
        (PHILLY_JOBS.replace("50.0", "-1"), PHILLY_NODES, "line 2, column duration"),
        (PHILLY_JOBS.replace("50.0", "nan"), PHILLY_NODES, "line 2, column duration"),
        (PHILLY_JOBS.replace("2017-10-09 07:00:10", "soon"), PHILLY_NODES, "column timestamp"),
        (PHILLY_JOBS.replace("cluster", "vc"), PHILLY_NODES, "column cluster"),
        (PHILLY_JOBS, "vc,node num\na,x\n", "column node num"),
        (PHILLY_JOBS, "vc,node num\na,1\na,2\n", "is there twice"),
        (PHILLY_JOBS, "vc,node num\nelse,1\n", "no job fits"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    tmp_path: Path, jobs: str, nodes: str, said: str
) -> None:
    assert said in refusal(simulate(*philly(tmp_path, jobs, nodes)))


@pytest.mark.parametrize(
    "given", [("--checkpoint", "often"), ("--scale", "nan"), ("--tick-s", "0")]
)
def test_options_out_of_bounds_are_refused(tmp_path: Path, given: tuple[str, str]) -> None:
    refusal(simulate(*philly(tmp_path), *given))


def test_the_names_that_are_offered_are_those_there_are() -> None:
    assert set(POLICY_NAMES) == set(NAMES)


def test_a_picture_is_drawn_where_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "waits.png"
    assert simulate(*philly(tmp_path), "--plot", str(path)).exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    nowhere = str(tmp_path / "no" / "waits.png")
    assert "unwritable_file" in refusal(simulate(*philly(tmp_path), "--plot", nowhere))


def test_with_twice_the_gpus_the_mesh_s_jobs_would_not_have_waited(
    capsys: pytest.CaptureFixture[str],
) -> None:
    views = [a_view(n, 0, 100, gpus=2) for n in range(2)]
    policies = (QueuePolicy(), QueuePolicy())
    compare(views, NODES, policies, more=((2, "H100"),), as_json=True)
    before, after, difference = map(json.loads, capsys.readouterr().out.splitlines())
    assert (before["gpus"], after["gpus"]) == (2, 4)
    assert (before["queueing_s"]["mean"], after["queueing_s"]["mean"]) == (50, 0)
    assert difference["difference"]["queueing_mean_s"] == -50
    compare(views, NODES, policies, more=((2, "H100"),), as_json=False)
    assert "0.0 s instead of 50.0 s" in capsys.readouterr().out


def test_more_gpus_come_on_nodes_like_those_that_have_them() -> None:
    like = (a_node("n1", gpus=8), a_node("n2", gpus=4, model="L4"))
    h100, l4, new = (more_nodes(like, 10, model) for model in ("H100", "L4", "B200"))
    assert [len(node.devices) for node in h100] == [8, 2]
    assert [len(node.devices) for node in l4] == [4, 4, 2]
    assert {device.model for node in new for device in node.devices} == {"B200"}
    assert len({node.node for node in (*h100, *l4, *new)}) == 7
