"""Is every kind of bad input refused with a code and a sentence, and nothing else disturbed?

Raw requests as a careless or hostile program would send them.
"""

from __future__ import annotations

import json
import time
from typing import Any

import nats.errors
import pytest

from e2e.mesh import Mesh
from e2e.raw import ROOT, RawClient, a_job, ulid

SUBMIT = f"{ROOT}.request.job.%s.submit"
BAD_JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "a command that is a string": ({"command": "true"}, "invalid_field"),
    "ranks that are words": ({"ranks": "four"}, "invalid_field"),
    "a negative number of gpus": ({"gpus": -1}, "invalid_field"),
    "absurdly many gpus": ({"gpus": 10**12}, "invalid_field"),
    "no ranks": ({"ranks": 0}, "invalid_field"),
    "too many ranks": ({"ranks": 10**9}, "invalid_field"),
    "an empty slice": ({"gpus": 1, "gpu_milli": 0}, "invalid_field"),
    "an absurd memory size": ({"gpus": 1, "gpu_memory_mib": 10**18}, "invalid_field"),
    "a priority of 10": ({"priority": 10}, "invalid_field"),
    "a negative time limit": ({"time_limit_s": -5}, "invalid_field"),
    "a number beyond 64 bits": ({"memory_mib": 2**70}, "invalid_field"),
    "an empty command": ({"command": []}, "invalid_field"),
    "a command without a name": ({"command": [""]}, "invalid_field"),
    "a NUL in the command": ({"command": ["a\0b"]}, "invalid_field"),
    "a bad variable name": ({"env": {"A=B": "1"}}, "invalid_field"),
    "a job id with a dot": ({"job_id": "a.b"}, "invalid_job_id"),
    "a job id that is a star": ({"job_id": "*"}, "invalid_job_id"),
    "a job id that is a tail": ({"job_id": ">"}, "invalid_job_id"),
    "a job id from long ago": ({"job_id": ulid(time.time() - 30 * 86_400)}, "job_id_too_old"),
    "a job id from the future": ({"job_id": ulid(time.time() + 3_600)}, "job_id_in_future"),
}


@pytest.fixture(autouse=True)
async def nobody_else_is_touched(mesh: Mesh, client: RawClient) -> Any:
    """A job that runs throughout a test must end well, on services that never restarted."""
    before = mesh.children()
    await client.follow("bystander")
    bystander = a_job("sh", "-c", "while [ ! -e $STOP ]; do sleep 0.05; done", gpus=1)
    stop = mesh.home / bystander["job_id"]
    bystander["env"] = {"STOP": str(stop)}
    await client.submit("bystander", bystander)
    await client.until_fact(bystander["job_id"], "running")
    yield
    stop.touch()
    ended = await client.until_ended(bystander["job_id"])
    assert (ended["fact"], ended["exit_code"]) == ("succeeded", 0)
    assert mesh.children() == before


async def refusal_of(client: RawClient, tenant: str, payload: bytes) -> dict[str, Any]:
    answer = await client.request_raw(SUBMIT % tenant, payload)
    refused = await client.refusal(tenant, answer["seq"])
    item: dict[str, Any] = refused["refused"][0]
    return item


async def test_each_bad_job_is_refused_with_its_code_and_a_sentence(client: RawClient) -> None:
    for what, (fields, code) in BAD_JOBS.items():
        item = await refusal_of(client, "careless", json.dumps(a_job() | fields).encode())
        assert item["refusal"]["code"] == code, what
        assert " " in item["refusal"]["message"], what


@pytest.mark.parametrize(
    "payload",
    [b"{not json", b"", b"[]", b'"text"', b"\xff\xfe", b"null", b"[" * 60_000, b'{"jobs": 3}'],
    ids=["broken", "empty", "list", "text", "not utf-8", "null", "deep nesting", "jobs a number"],
)
async def test_malformed_payloads_are_refused(client: RawClient, payload: bytes) -> None:
    item = await refusal_of(client, "careless", payload)
    assert item["refusal"]["code"] in {"malformed_json", "invalid_field"}


async def test_a_job_without_its_required_fields_is_refused(client: RawClient) -> None:
    item = await refusal_of(client, "careless", b'{"command": ["true"]}')
    assert item["refusal"]["code"] in {"invalid_job_id", "invalid_field"}
    item = await refusal_of(client, "careless", json.dumps({"job_id": ulid()}).encode())
    assert item["refusal"]["code"] == "invalid_field"


async def test_bad_jobs_in_a_message_do_not_take_good_ones_with_them(client: RawClient) -> None:
    await client.follow("careless")
    good = a_job("true", gpus=1)
    seq = await client.submit("careless", a_job() | {"ranks": -1}, good, a_job() | {"command": []})
    refused = await client.refusal("careless", seq)
    assert sorted(item["index"] for item in refused["refused"]) == [0, 2]
    assert (await client.until_ended(good["job_id"]))["fact"] == "succeeded"


async def test_a_request_over_the_size_limit_is_refused_by_the_broker(client: RawClient) -> None:
    large = json.dumps(a_job("true", "x" * 30_000, "y" * 30_000, "z" * 30_000)).encode()
    answer = await client.request_raw(SUBMIT % "careless", large)
    assert "error" in answer
    assert "size" in answer["error"]["description"]
    with pytest.raises(nats.errors.MaxPayloadError):
        await client.request_raw(SUBMIT % "careless", b" " * (10 << 20))


async def test_a_job_id_used_again_with_different_content_is_refused(client: RawClient) -> None:
    await client.follow("careless")
    job = a_job("true")
    await client.submit("careless", job)
    await client.submit("careless", job)
    assert (await client.until_ended(job["job_id"]))["fact"] == "succeeded"
    changed = json.dumps(job | {"command": ["false"]}).encode()
    item = await refusal_of(client, "careless", changed)
    assert item["refusal"]["code"] == "job_id_conflict"
    facts = await client.stored_facts("careless", job["job_id"])
    assert [event["fact"] for event in facts].count("submitted") == 1


@pytest.mark.parametrize("tenant", ["a.b", "*", ">", "-x", "x" * 64, "ü"])
async def test_a_tenant_that_is_no_name_is_refused(client: RawClient, tenant: str) -> None:
    payload = json.dumps(a_job()).encode()
    try:
        answer = await client.request_raw(SUBMIT % tenant, payload, timeout_s=1.0)
    except (nats.errors.Error, TimeoutError):
        return  # not even taken as a subject that anybody listens to
    if "seq" in answer:
        refused = await client.refusal("*", answer["seq"])
        assert refused["refused"][0]["refusal"]["code"] == "invalid_tenant"
    else:
        assert "error" in answer


async def test_cancelling_what_is_not_there_is_refused(client: RawClient) -> None:
    subject = f"{ROOT}.request.job.careless.cancel"
    answer = await client.request_raw(subject, json.dumps({"job_id": ulid()}).encode())
    refused = await client.refusal("careless", answer["seq"])
    assert refused["refused"][0]["refusal"]["code"] == "unknown_job"


def test_the_command_line_says_what_is_wrong_and_exits_with_2_or_1(mesh: Mesh) -> None:
    for arguments in (
        ("run", "--gpus", "-1", "--", "true"),
        ("run", "--tenant", "a.b", "--", "true"),
        ("run", "--gpus", "many", "--", "true"),
        ("run", "--gpus", "17", "--ranks", "1", "--", "true"),
        ("cancel", ulid()),
        ("job", ulid()),
        ("node", "cordon", "no-such-node"),
    ):
        done = mesh.cli(*arguments, exit_code=None)
        assert done.returncode != 0, arguments
        assert done.stderr.strip(), arguments
        assert "Traceback" not in done.stderr, arguments
