"""Does bad input get a code and a sentence, and never a 500?"""

from __future__ import annotations

import io
import json
import random

import pytest
from aiohttp import ClientSession

from client.builders import a_job_id
from client.mesh import FakeMesh
from gateway.conftest import Api, Http
from penstock_gateway.operations import OPERATIONS


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"command": ["\xff"]}', "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b"null", "invalid_field"),
        (b"[]", "invalid_field"),
        (b'"text"', "invalid_field"),
        (b"{}", "invalid_field"),
        (b'{"command": "true"}', "invalid_field"),
        (b'{"command": []}', "invalid_field"),
        (b'{"command": [""]}', "invalid_field"),
        (b'{"command": ["true"], "gpus": -1}', "invalid_field"),
        (b'{"command": ["true"], "gpus": 1e99}', "invalid_field"),
        (b'{"command": ["true"], "ranks": 99999999999999999999}', "invalid_field"),
        (b'{"command": ["true"], "job_id": "a.b"}', "invalid_job_id"),
        (b'{"command": ["true"], "job_id": "*"}', "invalid_job_id"),
        (b'{"command": ["true"], "tenant": "a.b"}', "invalid_tenant"),
        (b'{"command": ["true"], "tenant": ">"}', "invalid_tenant"),
        (b'{"command": ["true"], "tenant": 7}', "invalid_field"),
        (b'{"command": ["true"], "name": "\\u001b[31m"}', "invalid_field"),
        (b'{"command": ["true"], "ranks": 8192, "gpus": 1}', "invalid_field"),
        (
            b'{"jobs": [{"command": ["x"], "tenant": "acme"}, {"command": ["x"], "tenant": "."}]}',
            "invalid_tenant",
        ),
        (b'{"jobs": []}', "invalid_field"),
        (b'{"jobs": {}}', "invalid_field"),
        (b'{"jobs": [1]}', "invalid_field"),
        (json.dumps({"jobs": [{"command": ["x"]}] * 1001}).encode(), "too_many_jobs"),
        (json.dumps({"command": ["x" * 30_000] * 3}).encode(), "request_too_large"),
        (b" " * (1024 * 1024 + 1), "request_too_large"),
    ],
)
async def test_a_bad_submission_is_refused_and_reaches_nobody(
    mesh: FakeMesh, api: Api, body: bytes, code: str
) -> None:
    done = await api("POST", "/v1/jobs", data=io.BytesIO(body))
    assert (400 <= done.status < 500, done.code) == (True, code)
    assert done.body["refusal"]["message"]
    assert (await mesh.bus.stream_state("REQUESTS")).messages == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/jobs?limit=0", 400, "invalid_field"),
        ("GET", "/v1/jobs?limit=1001", 400, "invalid_field"),
        ("GET", "/v1/jobs?limit=x", 400, "invalid_field"),
        ("GET", "/v1/jobs?limit=9999999999999999999999", 400, "invalid_field"),
        ("GET", "/v1/jobs/a.b", 400, "invalid_job_id"),
        ("GET", "/v1/jobs/%2A", 400, "invalid_job_id"),
        ("GET", "/v1/jobs/%3E/logs", 400, "invalid_job_id"),
        ("GET", "/v1/jobs/%00/events", 400, "invalid_job_id"),
        ("DELETE", "/v1/jobs/x%20y", 400, "invalid_job_id"),
        ("DELETE", f"/v1/jobs/{a_job_id()}?tenant=acme&reason=%0d%0a", 400, "invalid_field"),
        ("GET", f"/v1/jobs/{a_job_id()}/logs?rank=-1", 400, "invalid_field"),
        ("GET", f"/v1/jobs/{a_job_id()}/logs?stream=both", 400, "invalid_field"),
        ("POST", "/v1/nodes/a.b/cordon", 404, "unknown_node"),
        ("POST", "/v1/nodes/node-a/explode", 404, "unknown_verb"),
        ("GET", "/v1/usage?from=yesterday", 400, "invalid_field"),
        ("GET", "/v1/usage?to=99999999999999999999d", 400, "invalid_field"),
        ("GET", "/v1/bills?month=2026-13", 400, "invalid_field"),
        ("GET", "/v1/bills.html?tenant=a.b", 400, "invalid_field"),
        ("GET", "/v1/jobs/a.b/account", 400, "invalid_job_id"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "unknown_verb"),
        ("GET", "/v1/jobs//", 404, "not_found"),
    ],
)
async def test_a_bad_path_or_query_is_refused(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    done = await api(method, path)
    assert (done.status, done.code) == (status, code)


@pytest.mark.parametrize(
    "token", [None, "", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer \xff"]
)
async def test_without_the_right_token_nothing_of_v1_is_told(http: Http, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": token}
    async with ClientSession() as anonymous:
        for operation in OPERATIONS:
            path = operation.path.format(job_id=a_job_id(), node="node-a", verb="cordon")
            async with anonymous.request(
                operation.method, http.make_url(path), headers=headers
            ) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                assert (await response.json())["refusal"]["code"] == "unauthorized"
        for path in ("/healthz", "/readyz", "/openapi.json", "/metrics"):
            async with anonymous.get(http.make_url(path)) as response:
                assert response.status == 200


async def test_random_bytes_and_types_never_make_a_500(api: Api) -> None:
    generator = random.Random(11)
    good = json.dumps({"command": ["true"], "gpus": 1, "env": {"A": "b"}}).encode()
    values: list[object] = [None, True, -1, 2**70, 1e308, "", "\x00", "*", [], [[]], {}, {"a": {}}]
    fields = ("job_id", "command", "env", "ranks", "gpus", "labels", "tenant", "jobs", "priority")
    bodies = [bytes(generator.choices(good, k=len(good))) for _ in range(100)]
    bodies += [
        json.dumps({"command": ["x"], name: value}).encode() for name in fields for value in values
    ]
    for body in bodies:
        done = await api("POST", "/v1/jobs", data=body)
        assert done.status < 500, (body, done)
        done = await api("POST", "/v1/nodes/node-a/drain", data=body)
        assert done.status < 500 or done.code == "unavailable", (body, done)
