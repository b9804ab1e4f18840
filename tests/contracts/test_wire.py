"""Do bytes written by earlier versions still decode to the same?

`golden/*.json` are wire samples with what they decoded to when they were written. They are added
to, never changed: `python -m tests.contracts.samples` writes the missing ones.
"""

from __future__ import annotations

import msgspec
import pytest

from penstock_contracts.asks import Alternative
from penstock_contracts.jobs import SECONDS_MAX, JobSpec
from tests.contracts.samples import GOLDEN, samples


@pytest.mark.parametrize("name", sorted(samples()))
def test_a_golden_sample_exists_for_every_message(name: str) -> None:
    assert (GOLDEN / f"{name}.json").exists(), "run `python -m tests.contracts.samples`"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_bytes_written_once_decode_for_ever(path) -> None:
    kind, value = samples()[path.stem]
    assert msgspec.json.decode(path.read_bytes(), type=kind) == value


def test_unknown_fields_are_ignored() -> None:
    job = b'{"job_id":"01MCC5RM000000000000000001","command":["x"],"colour":"red"}'
    assert msgspec.json.decode(job, type=JobSpec).command == ("x",)


@pytest.mark.parametrize(
    "change",
    [
        {"gpus": -1},
        {"gpus": 10**9},
        {"gpus": "1"},
        {"ranks": 0},
        {"gpu_milli": 1001},
        {"priority": 10},
        {"command": "ls"},
        {"time_limit_s": 0},
        {"env": {"A": 1}},
        {"near": "galaxy"},
        {"spread": "link"},
        {"spread": "rack", "spread_ranks": 0},
        {"gpus": 1, "alternatives": [{"gpus": 0}]},
        {"gpus": 1, "alternatives": [{"gpus": 2, "speed_milli": 0}]},
        {"gpus": 1, "alternatives": [{"gpus": n} for n in range(2, 11)]},
        {"node_labels": {str(n): "x" for n in range(65)}},
    ],
    ids=str,
)
def test_a_job_out_of_bounds_does_not_decode(change: dict) -> None:
    job = {"job_id": "01MCC5RM000000000000000001", "command": ["x"], **change}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(job), type=JobSpec)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"job_id": "a.b"}, "invalid_job_id"),
        ({"job_id": "*"}, "invalid_job_id"),
        ({"job_id": ">"}, "invalid_job_id"),
        ({"job_id": "01mcc5rm000000000000000001"}, "invalid_job_id"),
        ({"command": []}, "invalid_field"),
        ({"command": ["", "x"]}, "invalid_field"),
        ({"command": ["a\0b"]}, "invalid_field"),
        ({"env": {"A=B": "x"}}, "invalid_field"),
        ({"gpus": 2, "gpu_milli": 500}, "invalid_field"),
        ({"near_required": True}, "contradiction"),
        ({"near": "link"}, "contradiction"),
        ({"ranks": 2, "near": "node", "spread": "node"}, "contradiction"),
        ({"ranks": 2, "near": "rack", "spread": "site"}, "contradiction"),
        ({"ranks": 3, "near": "site", "spread": "site", "spread_ranks": 2}, "contradiction"),
        ({"spread_ranks": 2}, "contradiction"),
        ({"alternatives": [{"gpus": 1}]}, "contradiction"),
        ({"gpus": 1, "alternatives": [{"gpus": 1}]}, "contradiction"),
        ({"gpus": 1, "alternatives": [{"gpus": 2}, {"gpus": 2}]}, "contradiction"),
        ({"gpus": 1, "alternatives": [{"gpus": 2, "gpu_milli": 500}]}, "invalid_field"),
        ({"gpus": 1, "ranks": 4096, "alternatives": [{"gpus": 2}]}, "invalid_field"),
        ({"gpus": 1, "alternatives": [{"gpus": 2, "gpu_models": ["\n"]}]}, "invalid_field"),
        ({"node_labels": {"a": "\x1b"}}, "invalid_field"),
        ({"apart": "\n"}, "invalid_field"),
    ],
    ids=str,
)
def test_a_job_that_types_cannot_refuse_is_refused_by_a_rule(change: dict, code: str) -> None:
    job = {"job_id": "01MCC5RM000000000000000001", "command": ["x"], **change}
    fault = msgspec.json.decode(msgspec.json.encode(job), type=JobSpec).fault()
    assert fault is not None and fault[0] == code


@pytest.mark.parametrize(
    "change",
    [
        {"ranks": 2, "near": "rack", "spread": "node"},
        {"ranks": 2, "gpus": 1, "near": "link", "spread": "node"},
        {"ranks": 2, "near": "node", "spread": "node", "spread_ranks": 2},
        {"gpus": 1, "alternatives": [{"gpus": 1, "cpu_milli": 1}]},
    ],
    ids=str,
)
def test_wishes_that_can_be_met_together_are_no_contradiction(change: dict) -> None:
    job = {"job_id": "01MCC5RM000000000000000001", "command": ["x"], **change}
    assert msgspec.json.decode(msgspec.json.encode(job), type=JobSpec).fault() is None


def test_what_runs_of_several_alternatives_leaves_no_choice_and_has_time_for_the_same_work() -> (
    None
):
    spec = msgspec.structs.replace(samples()["JobSpec-asks"][1], time_limit_s=60)
    own, slower, share = (spec.resolved(n) for n in range(3))
    assert (own.gpus, own.gpu_models, own.time_limit_s) == (2, ("H100",), 60)
    assert (slower.gpus, slower.gpu_models, slower.time_limit_s) == (4, ("A100",), 75)
    assert (share.gpus, share.gpu_milli, share.gpu_memory_mib) == (1, 500, 20_000)
    assert (share.cpu_milli, share.memory_mib, slower.cpu_milli) == (1000, 1024, None)
    assert slower.env == {"PENSTOCK_ALTERNATIVE": "1", "PENSTOCK_SPEED_MILLI": "800"}
    assert own.env == {"PENSTOCK_ALTERNATIVE": "0", "PENSTOCK_SPEED_MILLI": "1000"}
    assert not own.alternatives and not slower.alternatives
    assert all(one.fault() is None for one in (own, slower, share))
    plain = msgspec.structs.replace(spec, alternatives=())
    assert plain.resolved(0) is plain


def test_a_scaled_time_limit_is_one_that_a_journal_can_hold() -> None:
    fields = {"job_id": "01MCC5RM000000000000000001", "command": ("x",), "gpus": 1}
    other = Alternative(gpus=2, speed_milli=1)
    spec = JobSpec(**fields, time_limit_s=SECONDS_MAX, alternatives=(other,)).resolved(1)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=JobSpec) == spec


def test_a_job_that_asks_nothing_of_its_places_is_written_as_ever() -> None:
    spec = JobSpec(job_id="01MCC5RM000000000000000001", command=("x",))
    assert msgspec.json.encode(spec) == b'{"job_id":"01MCC5RM000000000000000001","command":["x"]}'
