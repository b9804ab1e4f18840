"""Does the rack run on three brokers, and go on when one of them ends?"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import pytest

from conftest import Eventually
from deploy.compose import (
    BROKERS,
    CLUSTER_FILE,
    COMPOSE_FILE,
    OTHERS,
    ROOT,
    penstock_services,
    services,
)
from deploy.entry_points import parse
from deploy.rack import Rack

COMPOSE = shutil.which("docker-compose")
START_TIMEOUT_S = 60.0
URLS = ",".join(f"tls://{name}:4222" for name in BROKERS)


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is missing (Debian: docker-compose)")
def test_docker_compose_accepts_both_files_together() -> None:
    files = [part for path in (COMPOSE_FILE, CLUSTER_FILE) for part in ("--file", str(path))]
    command = [str(COMPOSE), *files, "config", "--quiet"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_process_is_given_all_three_brokers() -> None:
    given = {
        name: services(cluster=True)[name]["environment"]["PENSTOCK_NATS_URL"]
        for name in penstock_services(cluster=True)
    }
    assert given == dict.fromkeys(given, URLS)
    assert not set(given) & set(OTHERS)


@pytest.mark.parametrize("name", sorted(penstock_services(cluster=True)))
def test_each_container_passes_only_flags_that_its_command_knows(name: str) -> None:
    verb, *arguments = penstock_services(cluster=True)[name]
    try:
        parse(verb, arguments)
    except click.UsageError as error:
        pytest.fail(f"{name}: penstock {verb} {' '.join(arguments)}: {error.message}")


def test_the_brokers_differ_in_nothing_but_name_and_disk() -> None:
    brokers = [services(cluster=True)[name] for name in BROKERS]
    names = [broker["environment"]["PENSTOCK_SERVER_NAME"] for broker in brokers]
    assert names == list(BROKERS)
    config = "./deploy/nats-cluster.conf:/etc/penstock/nats.conf:ro"
    assert all(config in broker["volumes"] for broker in brokers)
    disks = {volume for broker in brokers for volume in broker["volumes"] if "/var/lib" in volume}
    assert len(disks) == len(BROKERS)


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    rack = Rack(tmp_path, cluster=True)
    yield rack
    rack.stop()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_a_job_runs_although_a_broker_and_the_active_scheduler_have_ended(
    rack: Rack, eventually: Eventually
) -> None:
    rack.initialise()
    for name in BROKERS:
        rack.start_broker(name)
    for name in BROKERS:
        await eventually(partial(rack.is_broker_up, name), timeout_s=START_TIMEOUT_S)
    rack.make_streams()
    started = ("inventory", "scheduler", "node-a")
    for name in started:
        rack.start(name)
    for name in started:
        await eventually(partial(rack.is_ready, name), timeout_s=START_TIMEOUT_S)
    rack.start("scheduler-b")
    job = ("run", "--gpus", "1", "--", "sh", "-c", "echo out; exit 7")
    first = rack.penstock(*job)
    assert (first.stdout, first.returncode) == ("out\n", 7), first.stderr

    rack.processes["nats-b"].send_signal(signal.SIGKILL)
    rack.processes["scheduler"].send_signal(signal.SIGKILL)
    second = rack.penstock(*job)
    assert (second.stdout, second.returncode) == ("out\n", 7), second.stderr
