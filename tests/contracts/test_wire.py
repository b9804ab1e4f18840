"""Do bytes written by earlier versions still decode to the same?

`golden/*.json` are wire samples with what they decoded to when they were written. They are added
to, never changed: `python -m tests.contracts.samples` writes the missing ones.
"""

from __future__ import annotations

import msgspec
import pytest

from penstock_contracts.jobs import JobSpec
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
        {"command": []},
        {"command": "ls"},
        {"time_limit_s": 0},
        {"env": {"A": 1}},
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
        ({"command": ["", "x"]}, "invalid_field"),
        ({"command": ["a\0b"]}, "invalid_field"),
        ({"env": {"A=B": "x"}}, "invalid_field"),
        ({"gpus": 2, "gpu_milli": 500}, "invalid_field"),
    ],
    ids=str,
)
def test_a_job_that_types_cannot_refuse_is_refused_by_a_rule(change: dict, code: str) -> None:
    job = {"job_id": "01MCC5RM000000000000000001", "command": ["x"], **change}
    fault = msgspec.json.decode(msgspec.json.encode(job), type=JobSpec).fault()
    assert fault is not None and fault[0] == code
