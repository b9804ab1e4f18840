"""Is what a job wants around its command refused where it cannot be had?

And is what a node must offer for it named?
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock_contracts.jobs import JobSpec
from penstock_contracts.work import OFFERS, inputs_of, needs, outputs_of

IMAGE = {"image": "registry.example/train:1"}
DIGEST = "0" * 64


def a_job(**fields: Any) -> JobSpec:
    job = {"job_id": "01MCC5RM000000000000000001", "command": ["x"], **fields}
    return msgspec.json.decode(msgspec.json.encode(job), type=JobSpec)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"command": []}, "command"),
        ({"container": {"image": "--privileged"}}, "container"),
        ({"container": {**IMAGE, "workdir": "work"}}, "container"),
        ({"container": {**IMAGE, "mounts": [{"source": "/a/../b", "target": "/b"}]}}, "container"),
        ({"container": {**IMAGE, "mounts": [{"source": "/a:/b", "target": "/b"}]}}, "container"),
        ({"container": IMAGE, "user": "anna"}, "user"),
        ({"user": "a\n"}, "user"),
        ({"gpus": 1, "gpu_enforced": True}, "gpu_enforced"),
        ({"inputs": [{"source": "object:a", "path": "../a"}]}, "inputs"),
        ({"inputs": [{"source": "object:a", "path": "/a"}]}, "inputs"),
        ({"inputs": [{"source": "object:a", "path": "./a"}]}, "inputs"),
        ({"ranks": 2, "outputs": [{"path": "a", "target": "object:a"}]}, "outputs"),
        ({"inputs": [{"source": "file:/a/../b", "path": "b"}]}, "inputs"),
        ({"inputs": [{"source": f"object:{n}", "path": "a"} for n in "ab"]}, "inputs"),
        ({"outputs": [{"path": "a//b", "target": "object:b"}]}, "outputs"),
        ({"outputs": [{"path": n, "target": "object:b"} for n in "ab"]}, "outputs"),
        ({"secrets": [{"name": "s"}]}, "secrets"),
        ({"secrets": [{"name": "s", "env": "A", "path": "a"}]}, "secrets"),
        ({"secrets": [{"name": "s", "env": "A"}], "env": {"A": "1"}}, "secrets"),
        ({"secrets": [{"name": "s", "path": "../a"}]}, "secrets"),
        ({"secrets": [{"name": n, "env": "A"} for n in "ab"]}, "secrets"),
        ({"secrets": [{"name": n, "path": "a"} for n in "ab"]}, "secrets"),
    ],
    ids=str,
)
def test_what_contradicts_itself_or_leaves_its_directory_is_refused(
    fields: dict[str, Any], field: str
) -> None:
    fault = a_job(**fields).fault()
    assert fault is not None
    assert fault[0] == "invalid_field" and fault[2].startswith(field)


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": [{"source": "a", "path": "a"}]},
        {"inputs": [{"source": "object:a", "path": "a", "sha256": "0"}]},
        {"container": {"image": ""}},
        {"container": {**IMAGE, "network": "all"}},
        {"rlimits": {"files": 1}},
        {"rlimits": {"nofile": -1}},
        {"pids_max": 0},
        {"secrets": [{"name": "a b", "env": "A"}]},
    ],
    ids=str,
)
def test_what_types_can_refuse_does_not_decode(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        a_job(**fields)


def test_an_image_brings_its_own_command_and_files_go_where_they_are_wanted() -> None:
    job = a_job(
        command=[],
        container={**IMAGE, "mounts": [{"source": "/data", "target": "/data"}]},
        inputs=[{"source": "object:model", "path": "in/model", "sha256": DIGEST}],
        outputs=[{"path": "out", "target": "file:/data/out"}],
        secrets=[{"name": "token", "env": "TOKEN"}, {"name": "token", "path": "token"}],
    )
    assert job.fault() is None


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ()),
        ({"memory_mib": 10, "rlimits": {"nofile": 9}}, ()),
        ({"container": IMAGE, "private_tmp": True}, ("containers",)),
        ({"user": "anna", "private_tmp": True}, ("private_tmp", "users")),
        ({"pids_max": 9}, ("pids_limit",)),
        ({"gpus": 1, "gpu_milli": 500, "gpu_enforced": True}, ("fractions",)),
    ],
    ids=str,
)
def test_a_node_must_offer_what_not_every_host_can(
    fields: dict[str, Any], wanted: tuple[str, ...]
) -> None:
    assert needs(a_job(**fields)) == wanted
    assert set(wanted) <= set(OFFERS)


def test_each_rank_has_files_of_its_own() -> None:
    job = a_job(
        ranks=3,
        inputs=[{"source": "object:part-{rank}", "path": "a"}, {"source": "file:/b", "path": "b"}],
        outputs=[{"path": "a", "target": "object:{rank}/{rank}", "required": False}],
    )
    assert job.fault() is None
    assert [one.source for one in inputs_of(job.inputs, 2)] == ["object:part-2", "file:/b"]
    (output,) = outputs_of(job.outputs, 2)
    assert (output.path, output.target, output.required) == ("a", "object:2/2", False)
