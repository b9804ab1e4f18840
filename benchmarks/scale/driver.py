"""How does one process be thousands of nodes?

`python -m scale.driver '{"nodes": ...}'` from `benchmarks/`: simulated nodes on a few connections,
each sending a heartbeat a second, spread evenly over the second. It takes commands as JSON lines
on its standard input and answers each by one on its standard output. It does not know what is
being measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
import uuid
from collections import Counter
from typing import Any

import msgspec
import uvloop

from penstock_bus.nats import NatsBus, connect
from penstock_contracts.roles import NODE_INBOX_PREFIX, ORDERS_PREFIX
from scale.fleet import ANY
from scale.node import SEGMENT_S, SimulatedNode

HEARTBEAT_S = 1.0
SLOTS = 100
"""Heartbeats leave in so many portions a second."""
LISTEN_AT_ONCE = 200
JOIN_AT_ONCE = 500
JOIN_POLL_S = 0.005


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes that this process is, and how it reaches the broker."""

    url: str
    creds: str
    first: int
    nodes: int
    devices: int
    model: str
    connections: int
    label: str = "n"


class Driver:
    """All nodes of one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.nodes: list[SimulatedNode] = []
        self._buses: list[NatsBus] = []
        self._late_s = 0.0
        self._beats = 0

    async def connect(self) -> None:
        plan = self._plan
        buses = self._buses = [
            await connect(
                plan.url,
                name=f"benchmark-nodes-{plan.first}-{index}",
                credentials=plan.creds,
                inbox_prefix=NODE_INBOX_PREFIX + ANY,
                subscribe_prefix=ORDERS_PREFIX,
            )
            for index in range(plan.connections)
        ]
        boot_id = str(uuid.uuid4())
        for index in range(plan.nodes):
            node = SimulatedNode(
                buses[index % len(buses)],
                f"{plan.label}{plan.first + index:05d}",
                devices=plan.devices,
                model=plan.model,
                boot_id=boot_id,
            )
            self.nodes.append(node)
        for first in range(0, plan.nodes, LISTEN_AT_ONCE):
            part = self.nodes[first : first + LISTEN_AT_ONCE]
            await asyncio.gather(*(node.listen() for node in part))
        gc.collect()
        gc.freeze()

    async def join(self) -> None:
        """Describe every node; returns when the broker holds all descriptions."""
        for first in range(0, len(self.nodes), JOIN_AT_ONCE):
            part = self.nodes[first : first + JOIN_AT_ONCE]
            for node in part:
                node.join()
            while True:
                if all(node.joined for node in part):
                    break
                await asyncio.sleep(JOIN_POLL_S)

    async def beat_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        slot, due = 0, loop.time()
        cut_at = loop.time() + SEGMENT_S
        while True:
            self._late_s = max(self._late_s, loop.time() - due)
            for node in self.nodes[slot::SLOTS]:
                if node.joined and not node.silent:
                    node.beat()
                    self._beats += 1
            if loop.time() >= cut_at:
                cut_at += SEGMENT_S
                for node in self.nodes:
                    node.cut()
            slot = (slot + 1) % SLOTS
            due += HEARTBEAT_S / SLOTS
            await asyncio.sleep(max(0.0, due - loop.time()))

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        what = command["do"]
        if what == "silence":
            chosen = self.nodes[: command["count"]]  # neighbours beat at different instants
            for node in chosen:
                node.silent = True
            return {"last_beat_ns": {node.name: node.last_beat_ns for node in chosen}}
        if what == "resume":
            for node in self.nodes:
                node.silent = False
            return {}
        if what == "stats":
            late_ms, self._late_s = round(self._late_s * 1e3, 1), 0.0
            return {
                "beats": self._beats,
                "late_ms_max": late_ms,
                "owes": sum(node.owes for node in self.nodes),
                "cpu_s": time.process_time(),
                "troubles": dict(sum((Counter(bus.counters) for bus in self._buses), Counter())),
            }
        raise ValueError(f"no command {what!r}")


async def main() -> None:
    logging.disable(logging.CRITICAL)  # what goes wrong on its connections is counted
    driver = Driver(msgspec.json.decode(sys.argv[1], type=Plan))
    await driver.connect()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    beating = asyncio.ensure_future(driver.beat_for_ever())
    _say({"connected": len(driver.nodes)})
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "join":
            began_ns = time.time_ns()
            await driver.join()
            _say({"began_ns": began_ns, "described_ns": time.time_ns()})
        else:
            _say(driver.obey(command))
        if beating.done():
            beating.result()


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
