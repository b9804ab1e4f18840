"""Does `penstock simulate placement` print what it promises, and the same each time?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from packing.traces import jobs_file, nodes_file
from penstock_scheduler.simulate.arrivals import inflated
from penstock_scheduler.simulate.command import command
from penstock_scheduler.simulate.traces import read_jobs, read_nodes


def simulate(folder: Path, *arguments: str) -> Result:
    files = ("--nodes", str(nodes_file(folder)), "--jobs", str(jobs_file(folder)))
    return CliRunner().invoke(command, ["placement", *files, *arguments])


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def steady(found: list[dict[str, Any]]) -> list[Any]:
    """All but the speed."""
    return [{k: v for k, v in line.items() if k != "decisions_per_s"} for line in found[:-1]]


def test_each_run_is_a_line_and_a_summary_ends_them(tmp_path: Path) -> None:
    policies = ("--policy", "penstock", "--policy", "fgd", "--policy", "random")
    found = lines(simulate(tmp_path, *policies, "--seeds", "1,3-4", "--json"))
    assert [(line["seed"], line["policy"]) for line in found[:-1]] == [
        (seed, policy) for seed in (1, 3, 4) for policy in ("penstock", "fgd", "random")
    ]
    for line in found[:-1]:
        assert list(line) == [
            "seed",
            "policy",
            "allocated_percent",
            "unallocated_gpus",
            "decisions_per_s",
        ]
        assert list(line["allocated_percent"]) == ["100", "130"]
        assert 0 < line["allocated_percent"]["100"] <= line["allocated_percent"]["130"] <= 100
        free = 10 - line["allocated_percent"]["130"] / 10
        assert line["unallocated_gpus"] == pytest.approx(free, abs=1e-4)
        assert line["decisions_per_s"] > 0
    totals = found[-1]["summary"]
    assert [line["policy"] for line in totals] == ["penstock", "fgd", "random"]
    assert "paired_difference" not in totals[0]
    for line in totals[1:]:
        paired = line["paired_difference"]
        assert paired["to"] == "penstock"
        means = [one["allocated_percent"]["130"]["mean"] for one in (line, totals[0])]
        assert paired["130"]["mean"] == pytest.approx(means[0] - means[1], abs=1e-3)


@pytest.mark.parametrize("workload", ["list", "online"])
def test_the_same_seed_gives_the_same_placements(tmp_path: Path, workload: str) -> None:
    arguments = ("--seeds", "7", "--json", "--workload", workload, "--policy", "penstock")
    assert steady(lines(simulate(tmp_path, *arguments))) == steady(
        lines(simulate(tmp_path, *arguments))
    )


def test_without_a_policy_the_default_runs_alone_for_people(tmp_path: Path) -> None:
    result = simulate(tmp_path, "--seeds", "42", "--inflate", "0.5")
    assert result.exit_code == 0, result.output
    head, run, mean = result.stdout.splitlines()
    assert head.split() == ["POLICY", "SEED", "AT", "50", "%", "GPUS", "FREE", "DECISIONS/S"]
    assert run.split()[:2] == ["penstock", "42"]
    assert mean.split()[:2] == ["penstock", "mean"]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    result = simulate(tmp_path, "--seeds", "1-2", "--policy", "fgd", "--plot", str(picture))
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_picture_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "penstock_scheduler.simulate.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    result = simulate(tmp_path, "--plot", str(tmp_path / "picture.png"))
    assert result.exit_code == 2
    assert "penstock[plot]" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seeds", "x"),
        ("--seeds", "5-1"),
        ("--seeds", "1-99999999999"),
        ("--seeds", ""),
        ("--inflate", "0"),
        ("--inflate", "nan"),
        ("--policy", "best"),
        ("--workload", "guess"),
        ("--plot", "/nowhere/picture.png"),
    ],
)
def test_wrong_usage_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = simulate(tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert not isinstance(result.exception, ValueError)


def test_a_bad_table_is_refused_with_its_sentence(tmp_path: Path) -> None:
    jobs = jobs_file(tmp_path, ["j,-1,1,1,1000,"])
    arguments = ["placement", "--nodes", str(nodes_file(tmp_path)), "--jobs", str(jobs)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    sentence = f"{jobs}, line 2, column cpu_milli: -1 is negative"
    assert result.output == f"penstock: bad_value: {sentence}\n"
    result = CliRunner().invoke(command, [*arguments, "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "refusal": {"code": "bad_value", "message": sentence, "field": "cpu_milli"}
    }


@pytest.mark.parametrize(
    ("arguments", "line", "said"),
    [
        (("--inflate", "1e-6"), "j,1,1,1,1000,", "the smallest job asks for 1000 milli-GPU, 0"),
        ((), "j,1,1,99999,1000,", "the smallest job asks for 99999000 milli-GPU, 13000 are all"),
        (("--inflate", "90"), "j,1,1,0,0,\n" * 99_000 + "j,1,1,1,1,", "jobs would arrive, at most"),
    ],
)
def test_a_run_of_nothing_or_without_end_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], line: str, said: str
) -> None:
    jobs = jobs_file(tmp_path, [line])
    files = ["--nodes", str(nodes_file(tmp_path)), "--jobs", str(jobs)]
    result = CliRunner().invoke(command, ["placement", *files, *arguments])
    assert result.exit_code == 2, result.output
    assert "penstock: bad_inflate: --inflate" in result.output
    assert said in result.output


def test_a_job_larger_than_what_is_left_to_arrive_does_not(tmp_path: Path) -> None:
    jobs = jobs_file(tmp_path, ["j,1,1,99999,1000,", "k,1,1,1,1000,"])
    files = ["--nodes", str(nodes_file(tmp_path)), "--jobs", str(jobs)]
    result = CliRunner().invoke(command, ["placement", *files, "--seeds", "1-9", "--json"])
    for line in lines(result)[:-1]:
        assert line["allocated_percent"]["130"] <= 100


@pytest.mark.parametrize("inflate", [0.5, 1.0, 1.3, 7.0])
def test_as_much_is_asked_for_as_is_said_and_not_more(tmp_path: Path, inflate: float) -> None:
    nodes = read_nodes(nodes_file(tmp_path))
    jobs = read_jobs(jobs_file(tmp_path), nodes)
    most = inflate * nodes.capacity_milli
    for seed in range(20):
        order = inflated(jobs, seed, nodes.capacity_milli, inflate)
        asked = sum(job.asked_milli for job in order)
        assert most - max(job.asked_milli for job in jobs) < asked <= most
        assert order == inflated(jobs, seed, nodes.capacity_milli, inflate)
