"""Does the gateway live as a process: start, serve, drain, and refuse to be open to the world?"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from client.builders import a_spec
from client.mesh import FakeJob, FakeMesh
from conftest import BusFactory, NatsServer
from penstock_gateway.config import Config
from penstock_gateway.service import read_token, tls_context
from penstock_runtime.config import ConfigError


@pytest.fixture
async def real_mesh(bus_factory: BusFactory) -> AsyncIterator[FakeMesh]:
    mesh = await FakeMesh(await bus_factory(name="mesh")).start()
    yield mesh
    await mesh.stop()


async def start(*arguments: str) -> tuple[Process, str]:
    """A gateway on a free port, and its address as it says it in its log."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penstock_gateway", "--http-port", "0", *arguments,
        stderr=PIPE, env=env,
    )  # fmt: skip
    assert process.stderr is not None
    while line := (await asyncio.wait_for(process.stderr.readline(), 20)).decode():
        if found := re.search(r"'127\.0\.0\.1', (\d+)|\"127\.0\.0\.1\", ?(\d+)", line):
            return process, f"http://127.0.0.1:{found[1] or found[2]}"
    raise AssertionError("the gateway did not start")


async def test_it_serves_and_drains_on_sigterm_with_a_reader_attached(
    nats_server: NatsServer, real_mesh: FakeMesh, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken\n", encoding="utf-8")
    process, url = await start("--nats-url", nats_server.url, "--token-file", str(token))
    job = FakeJob(real_mesh, "acme", a_spec())
    await job.fact("submitted", "queued")
    headers = {"Authorization": "Bearer t0ken"}
    async with aiohttp.ClientSession(url, headers=headers) as http:
        async with http.get("/readyz") as response:
            assert response.status == 200
        async with http.get(f"/v1/jobs/{job.spec.job_id}/events") as response:
            assert b"submitted" in await response.content.readuntil(b"\n\n")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_it_is_not_ready_while_the_broker_is_away_and_comes_back(
    nats_server: NatsServer, real_mesh: FakeMesh
) -> None:
    process, url = await start("--nats-url", nats_server.url)
    async with aiohttp.ClientSession(url) as http:

        async def until(status: int) -> None:
            async with asyncio.timeout(20):
                while True:
                    async with http.get("/readyz") as response:
                        if response.status == status:
                            return

        await until(200)
        nats_server.kill()
        await until(503)
        async with http.get("/v1/jobs") as response:
            assert (response.status, (await response.json())["refusal"]["code"]) == (
                503,
                "unavailable",
            )
        nats_server.start()
        await until(200)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0


def test_another_address_than_loopback_needs_a_token_and_tls(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken", encoding="utf-8")
    with pytest.raises(ConfigError, match="token_file"):
        read_token(Config(http_host="0.0.0.0"))
    assert read_token(Config(http_host="0.0.0.0", token_file=token)) == "t0ken"
    with pytest.raises(ConfigError, match="tls_cert"):
        tls_context(Config(http_host="0.0.0.0", token_file=token))
    with pytest.raises(ConfigError, match="tls_cert"):
        tls_context(Config(tls_cert=tmp_path / "absent"))
    assert tls_context(Config()) is None
    assert read_token(Config(http_host="::1")) is None


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with pytest.raises(ConfigError, match="token_file is wrong"):
        read_token(Config(token_file=token))
