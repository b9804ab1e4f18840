"""Does the HTTP API of a running mesh do what the command line does?"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from e2e.mesh import Mesh, until
from e2e.raw import TERMINAL, ulid


class Http:
    """The API with a bearer token; None = without one."""

    def __init__(self, base: str, token: str | None) -> None:
        self._base = base
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path, data=data, method=method, headers=self._headers
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.send(method, path, body)
        assert 200 <= status < 300, (status, answer)
        return json.loads(answer)


@pytest.fixture
def http(mesh: Mesh) -> Http:
    token = (mesh.data / "http.token").read_text(encoding="ascii").strip()
    return Http(mesh.http_url, token)


def test_a_job_goes_through_the_http_api_from_request_to_output(http: Http) -> None:
    job_id = ulid()
    body = {"job_id": job_id, "command": ["sh", "-c", "echo by http; exit 3"], "gpus": 1}
    http.json("POST", "/v1/jobs", body)
    job = until(lambda: _ended(http.json("GET", f"/v1/jobs/{job_id}")), what="the job has ended")
    assert (job["state"], job["exit_code"]) == ("failed", 3)
    status, log = http.send("GET", f"/v1/jobs/{job_id}/logs")
    assert (status, log) == (200, b"by http\n")


def _ended(job: Any) -> Any:
    return job if job["state"] in TERMINAL else None


def test_events_of_a_job_come_to_its_end_and_no_further(http: Http) -> None:
    job_id = ulid()
    http.json("POST", "/v1/jobs", {"job_id": job_id, "command": ["true"]})
    status, stream = http.send("GET", f"/v1/jobs/{job_id}/events")
    assert status == 200
    lines = stream.decode().splitlines()
    facts = [json.loads(line[5:])["fact"] for line in lines if line.startswith("data:")]
    assert (facts[0], facts[-1]) == ("submitted", "succeeded")


def test_nodes_usage_and_check_are_there(http: Http) -> None:
    for path in ("/v1/nodes", "/v1/usage", "/v1/jobs", "/v1/nodes/sim-h100-1"):
        http.json("GET", path)
    assert http.json("GET", "/v1/check")["unaccounted_ms"] == 0


def test_the_document_describes_the_paths_that_are_served(mesh: Mesh) -> None:
    document = Http(mesh.http_url, None).json("GET", "/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert {"/v1/jobs", "/v1/nodes", "/v1/usage", "/v1/check"} <= document["paths"].keys()


def test_without_the_token_nothing_is_said(mesh: Mesh) -> None:
    for token in (None, "wrong"):
        status, answer = Http(mesh.http_url, token).send("GET", "/v1/jobs")
        assert status == 401
        assert json.loads(answer)["refusal"]["code"] == "unauthorized"


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"\xff", {"command": []}, {"command": ["true"], "gpus": -1}, b"x" * (2 << 20)],
    ids=["broken", "list", "not utf-8", "empty command", "negative", "2 MiB"],
)
def test_bad_requests_are_refused_with_a_code(http: Http, body: Any) -> None:
    status, answer = http.send("POST", "/v1/jobs", body)
    assert 400 <= status < 500
    assert json.loads(answer)["refusal"]["code"]


def test_every_service_tells_its_health_and_metrics(mesh: Mesh) -> None:
    ports = {"gateway": mesh.http_url.rpartition(":")[2]}
    for role in ("inventory", "scheduler", "metering"):
        line = mesh.children()[mesh.pid_of(role)]
        ports[role] = line[line.index("--http-port") + 1]
    for role, port in ports.items():
        service = Http(f"http://127.0.0.1:{port}", None)
        for path in ("/healthz", "/readyz"):
            assert service.send("GET", path)[0] == 200, (role, path)
        status, metrics = service.send("GET", "/metrics")
        assert (status, b"# TYPE penstock_" in metrics) == (200, True), role
