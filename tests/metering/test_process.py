"""Does the real process survive kills, say when it is ready, and stop when asked?"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metering.mesh import prepare
from metering.world import World
from penstock_bus.port import Bus
from penstock_contracts.queries import MeteringAudit, MeteringAuditQuery

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def http_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(nats_server: Any, tmp_path: Path, http_port: int) -> Iterator[Start]:
    """Starts `python -m penstock_metering`; whatever still runs is killed afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    flags = ["--nats-url", nats_server.url, "--data-dir", str(tmp_path / "data")]
    flags += ["--http-port", str(http_port)]

    def launch() -> subprocess.Popen[bytes]:
        with open(tmp_path / "metering.log", "ab") as log:
            argv = [sys.executable, "-m", "penstock_metering", *flags]
            started.append(subprocess.Popen(argv, stderr=log))
        return started[-1]

    yield launch
    for process in started:
        process.kill()
        process.wait()


def fetch(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


async def audit(bus: Bus, world: World) -> MeteringAudit:
    """Without agents to answer: every node is compared up to its last report."""
    question = MeteringAuditQuery(len(world.streams["JOBS"]), len(world.streams["NODES"]))
    subject = "penstock.v1.query.metering.audit"
    answer = await bus.request(subject, msgspec.json.encode(question), timeout_s=20)
    return msgspec.convert(msgspec.json.decode(answer.payload)["value"], MeteringAudit)


@pytest.mark.lesson(21)
async def test_kills_at_any_time_lose_and_double_nothing(
    bus: Bus, start: Start, http_port: int, eventually: Any
) -> None:
    await prepare(bus)
    world = World()
    agents = [world.a_node(name, gpus=4) for name in ("n1", "n2")]
    for index in range(600):
        agent = agents[index % 2]
        world.a_run(agent.name, agent.devices[: 1 + index % 3], for_ms=index)
        if index % 7 == 0:
            agent.send()
    for agent in agents:
        agent.send()
    process = start()
    await eventually(lambda: fetch(http_port, "/readyz")[0] == 200, timeout_s=30)
    kills = 0
    for name in ("NODES", "JOBS", "USAGE"):
        for message in world.streams[name]:
            await bus.append(message.subject, message.payload)
            if message.seq % 900 == 450:
                process.kill()
                process.wait()
                process = start()
                kills += 1
    assert kills >= 3
    await eventually(lambda: fetch(http_port, "/readyz")[0] == 200, timeout_s=30)
    said = await audit(bus, world)
    assert said.unaccounted_ms == 0
    assert said.findings == ()
    assert (said.accepted, said.finished) == (600, {"succeeded": 600})
    sold = sum((1 + index % 3) * index * 1_000 for index in range(600))
    assert said.device_milli_ms["sold"] == sold
    status, page = fetch(http_port, "/metrics")
    assert status == 200
    assert "penstock_metering_unaccounted_ms 0" in page
    assert 'penstock_metering_lag_messages{stream="JOBS"} 0' in page
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0


async def test_a_broker_that_is_killed_is_waited_for(
    nats_server: Any, bus: Bus, start: Start, http_port: int, eventually: Any
) -> None:
    await prepare(bus)
    world = World()
    agent = world.a_node(gpus=1)
    process = start()
    await eventually(lambda: fetch(http_port, "/readyz")[0] == 200, timeout_s=30)
    nats_server.restart()
    await eventually(lambda: bus.connected and bus.counters["reconnects"], timeout_s=30)
    world.a_run("n1", agent.devices)
    agent.send()
    for messages in world.streams.values():
        for message in messages:
            await bus.append(message.subject, message.payload)
    await eventually(lambda: fetch(http_port, "/readyz")[0] == 200, timeout_s=30)
    assert (await audit(bus, world)).device_milli_ms["sold"] == 1_000_000
    assert process.poll() is None


async def test_before_its_streams_exist_it_waits_and_says_so(
    bus: Bus, start: Start, http_port: int, eventually: Any
) -> None:
    start()
    waits = "the broker has no mesh yet"
    await eventually(lambda: waits in fetch(http_port, "/readyz")[1], timeout_s=30)
    await prepare(bus)
    await eventually(lambda: fetch(http_port, "/readyz")[0] == 200, timeout_s=30)
