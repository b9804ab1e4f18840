"""Do real inventory processes hand over to each other as they should?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conftest import Eventually, NatsServer
from inventory.builders import a_description, as_json
from penstock_bus.port import NoResponders, Outage
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import Answer, NodesView
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_runtime.process import EXIT_OK, EXIT_STEPPED_DOWN

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start(nats_server: NatsServer, tmp_path: Path) -> Iterator[Start]:
    """`start()` starts one more inventory process; all are killed after the test."""
    children: list[subprocess.Popen[bytes]] = []

    def make() -> subprocess.Popen[bytes]:
        with open(tmp_path / f"{len(children)}.log", "wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "penstock_inventory", "--url", nats_server.url], stderr=log
            )
        children.append(child)
        return child

    yield make
    for child in children:
        child.kill()
        child.wait()


@pytest.fixture
async def mesh(bus: Any) -> AsyncIterator[Any]:
    """A bus whose broker has the mesh's streams, and one described node."""
    await bus.ensure_streams(STREAMS)
    await bus.ensure_buckets(BUCKETS)
    await bus.ensure_buckets(OBJECT_BUCKETS, objects=True)
    await bus.append("penstock.v1.node.n1.description", as_json(a_description("n1")))
    yield bus


async def nodes(bus: Any) -> NodesView | None:
    try:
        message = await bus.request("penstock.v1.query.inventory.nodes", b"{}", timeout_s=1)
    except (NoResponders, Outage):
        return None
    return msgspec.json.decode(message.payload, type=Answer[NodesView]).value


async def cordon(bus: Any, verb: str) -> NodeView | None:
    subject = f"penstock.v1.command.node.n1.{verb}"
    message = await bus.request(subject, b"{}", timeout_s=5)
    return msgspec.json.decode(message.payload, type=Answer[NodeView]).value


async def terms(bus: Any) -> list[int]:
    state = await bus.stream_state("NODES")
    entries = [await bus.read("NODES", seq) for seq in range(1, state.last_seq + 1)]
    return [msgspec.json.decode(entry.payload)["term"] for entry in entries]


def signalled(eventually_nodes: NodesView | None) -> bool:
    return eventually_nodes is not None and len(eventually_nodes.nodes) == 1


async def test_killed_it_is_back_within_seconds_and_stopped_it_leaves_a_snapshot(
    mesh: Any, start: Start, eventually: Eventually
) -> None:
    async def serves() -> bool:
        return signalled(await nodes(mesh))

    first = start()
    await eventually(serves)
    assert (await cordon(mesh, "cordon")) is not None
    first.kill()
    first.wait()
    begun = time.monotonic()
    second = start()
    await eventually(serves)
    took_s = time.monotonic() - begun
    assert took_s < 2.5, f"a dead holder's lock must not be waited for ({took_s:.2f} s)"
    found = await nodes(mesh)
    assert found is not None and found.nodes[0].cordoned
    second.terminate()
    assert second.wait(timeout=10) == EXIT_OK
    assert len(await mesh.object_names("SNAPSHOTS")) == 1
    assert sorted(set(await terms(mesh))) == [1, 2]


async def test_a_frozen_one_is_replaced_and_steps_down_when_it_thaws(
    mesh: Any, start: Start, eventually: Eventually
) -> None:
    async def serves() -> bool:
        return signalled(await nodes(mesh))

    frozen = start()
    await eventually(serves)
    os.kill(frozen.pid, signal.SIGSTOP)
    standby = start()
    await eventually(serves, timeout_s=15)
    assert (await cordon(mesh, "drain")) is not None
    os.kill(frozen.pid, signal.SIGCONT)
    assert frozen.wait(timeout=10) == EXIT_STEPPED_DOWN
    assert standby.poll() is None
    found = await nodes(mesh)
    assert found is not None and found.nodes[0].draining
    order = await terms(mesh)
    assert order == sorted(order), "the frozen one has written nothing since"


async def test_a_standby_takes_over_at_once_when_the_active_one_is_stopped(
    mesh: Any, start: Start, eventually: Eventually
) -> None:
    async def serves() -> bool:
        return signalled(await nodes(mesh))

    active = start()
    await eventually(serves)
    standby = start()
    active.terminate()
    assert active.wait(timeout=10) == EXIT_OK
    await eventually(serves)
    assert standby.poll() is None
    assert set(await terms(mesh)) == {1, 2}
