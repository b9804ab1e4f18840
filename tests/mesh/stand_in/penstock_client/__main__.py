"""How little must a service or an agent do for `penstock up` to call the mesh whole?

Agents describe themselves in their heartbeats and leave a stand-in reaper behind; inventory and
scheduler answer the one query each is asked. STAND_IN_BROKEN names a child that fails at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import Message, Outage
from penstock_contracts.ids import ROOT
from penstock_contracts.nodes import ALIVE, Device, NodeDescription, NodeView
from penstock_contracts.queries import Answer, DeviceUse, NodesUseView, NodesView, NodeUse
from penstock_contracts.roles import NODE_INBOX_PREFIX, ORDERS_PREFIX
from penstock_mesh.process_identity import identify

HEARTBEAT_S = 0.02


def flag(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


class Fleet:
    """What the heartbeats say."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeDescription] = {}

    def hear(self, message: Message) -> None:
        description = msgspec.json.decode(message.payload, type=NodeDescription)
        self.nodes[description.node] = description

    def as_inventory(self) -> Any:
        views = [
            NodeView(description=node, liveness=ALIVE, seen_age_ms=0)
            for node in self.nodes.values()
        ]
        return NodesView(seq=1, nodes=tuple(views))

    def as_scheduler(self) -> Any:
        return NodesUseView(seq=1, nodes=tuple(map(a_use, self.nodes.values())))


def a_use(node: NodeDescription) -> NodeUse:
    return NodeUse(
        node=node.node, schedulable=True, liveness=ALIVE, cordoned=False, draining=False,
        cpu_milli=1, cpu_milli_free=1, memory_mib=1, memory_mib_free=1, leases=0,
        devices=tuple(
            DeviceUse(uuid=d.uuid, model=d.model, free_milli=1000, healthy=True)
            for d in node.devices
        ),
    )  # fmt: skip


async def serve(name: str, stopped: asyncio.Event) -> None:
    bus = await connect(flag("--nats-url"), name=name, credentials=flag("--creds"))
    fleet = Fleet()
    answers: dict[str, tuple[str, Callable[[], Any]]] = {
        "inventory": ("nodes", fleet.as_inventory),
        "scheduler": ("nodes", fleet.as_scheduler),
        "metering": ("usage", dict),
    }
    if name in answers:
        what, view = answers[name]

        def answer(message: Message) -> None:
            bus.respond_nowait(message, msgspec.json.encode(Answer(value=view())))

        if what == "nodes":
            await bus.subscribe(f"{ROOT}.node.*.heartbeat", fleet.hear)
        await bus.subscribe(f"{ROOT}.query.{name}.{what}", answer)
    else:
        await asyncio.start_server(hang_up, flag("--http-host"), int(flag("--http-port")))
    await stopped.wait()
    await bus.close()


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def run_node(stopped: asyncio.Event) -> None:
    node = flag("--node")
    bus = await connect(
        flag("--nats-url"),
        name=node,
        credentials=flag("--creds"),
        inbox_prefix=NODE_INBOX_PREFIX + node,
        subscribe_prefix=ORDERS_PREFIX,
    )
    leave_reaper(Path(flag("--state-dir")) / "reaper.pid")
    await beat(bus, a_description(node), stopped)
    await bus.close()


def a_description(node: str) -> NodeDescription:
    driver = flag("--driver")
    count = 0 if driver == "auto" else int(driver.partition(":")[2].partition("x")[0])
    devices = tuple(Device(uuid=f"{node}-{i}", index=i, model="X") for i in range(count))
    return NodeDescription(
        node=node, boot_id="b", joined_ms=0, cpu_milli=1, memory_mib=1, devices=devices
    )


async def beat(bus: NatsBus, description: NodeDescription, stopped: asyncio.Event) -> None:
    payload = msgspec.json.encode(description)
    while not stopped.is_set():
        try:
            bus.publish_nowait(f"{ROOT}.node.{description.node}.heartbeat", payload)
        except Outage:
            continue
        finally:
            await asyncio.sleep(HEARTBEAT_S)


def leave_reaper(pid_file: Path) -> None:
    """Its end is for `penstock up` to bring about, as after the death of a real agent."""
    command = ["/bin/sleep", "1000"]
    reaper = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    identity = identify(reaper.pid)
    if identity is None:
        raise RuntimeError("the reaper did not start")
    pid_file.write_text(f"{identity.pid} {identity.start_ticks}\n", encoding="ascii")


async def main() -> None:
    name = sys.argv[1]
    if os.environ.get("STAND_IN_BROKEN") == name:
        sys.exit("this stand-in is broken")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await (run_node(stopped) if name == "agent" else serve(name, stopped))


asyncio.run(main())
