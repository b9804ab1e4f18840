"""Do the exact command lines of the compose file make a mesh that runs a job?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from conftest import Eventually
from deploy.rack import LONG_RUNNING, Rack

START_TIMEOUT_S = 40.0

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the rack's certificate"
)


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    rack = Rack(tmp_path)
    yield rack
    rack.stop()


async def test_the_command_lines_of_the_compose_file_make_a_mesh_that_runs_a_job(
    rack: Rack, eventually: Eventually
) -> None:
    rack.initialise()
    rack.start_broker()
    await eventually(rack.is_broker_up, timeout_s=START_TIMEOUT_S)
    rack.make_streams()
    for name in LONG_RUNNING:
        rack.start(name)
    for name in LONG_RUNNING:
        await eventually(lambda name=name: rack.is_ready(name), timeout_s=START_TIMEOUT_S)

    def node_names() -> set[str]:
        listing = rack.penstock("nodes", "--json")
        return set() if listing.returncode else set(_strings(msgspec.json.decode(listing.stdout)))

    await eventually(lambda: {"node-a", "node-b"} <= node_names(), timeout_s=START_TIMEOUT_S)
    job = rack.penstock("run", "--gpus", "1", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (job.stdout, job.stderr, job.returncode) == ("out\n", "err\n", 7)
    assert rack.stop() == dict.fromkeys(("nats", *LONG_RUNNING), 0)


def _strings(value: object) -> Iterator[str]:
    """Every string value anywhere inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
