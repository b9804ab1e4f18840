"""Can every node of this mesh take work?

Asks inventory and the scheduler, and says of each expected node what is still missing. It does not
know how nodes are started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from penstock_bus.port import Bus, Outage
from penstock_contracts.ids import ROOT
from penstock_contracts.nodes import ALIVE, NodeView
from penstock_contracts.queries import Answer, Empty, NodesUseView, NodesView, NodeUse
from penstock_mesh.fleet import Node

QUERY_TIMEOUT_S = 2.0
POLL_S = 0.05
SEEN_AGE_MS_MAX = 3_000
"""A heartbeat older than that may be an earlier agent's."""
REPORT_EVERY_S = 5.0

V = TypeVar("V")


async def wait_until_schedulable(
    bus: Bus, nodes: Sequence[Node], gateway: tuple[str, int], report: Callable[[str], None]
) -> int:
    """Returns the number of their devices once all `nodes` can take work, metering answers and the
    gateway listens; says every few seconds what is missing. Waits without end: a supervisor beside
    it starts again what failed.
    """
    loop = asyncio.get_running_loop()
    next_report_s = loop.time() + REPORT_EVERY_S
    while True:
        inventory = await _ask(bus, "inventory.nodes", NodesView)
        scheduler = await _ask(bus, "scheduler.nodes", NodesUseView)
        obstacles = find_obstacles(
            nodes,
            None if inventory is None else inventory.nodes,
            None if scheduler is None else scheduler.nodes,
        )
        if await _ask(bus, "metering.usage", Any) is None:
            obstacles.append("metering does not answer yet")
        if not await _listens(*gateway):
            obstacles.append("the gateway does not listen yet")
        if not obstacles and inventory is not None:
            names = {node.name for node in nodes}
            ours = [view.description for view in inventory.nodes if view.description.node in names]
            return sum(len(description.devices) for description in ours)
        if loop.time() >= next_report_s:
            report("waiting: " + "; ".join(obstacles))
            next_report_s = loop.time() + REPORT_EVERY_S
        await asyncio.sleep(POLL_S)


def find_obstacles(
    nodes: Sequence[Node],
    inventory: Sequence[NodeView] | None,
    scheduler: Sequence[NodeUse] | None,
) -> list[str]:
    """What keeps each node from taking work, one phrase each; None = the service does not answer.

    A node that an operator cordoned is as it should be.
    """
    if inventory is None:
        return ["inventory does not answer yet"]
    if scheduler is None:
        return ["the scheduler does not answer yet"]
    seen = {view.description.node: view for view in inventory}
    used = {use.node: use for use in scheduler}
    found = []
    for node in nodes:
        obstacle = _obstacle(node, seen.get(node.name), used.get(node.name))
        if obstacle:
            found.append(f"node {node.name} {obstacle}")
    return found


def _obstacle(node: Node, seen: NodeView | None, used: NodeUse | None) -> str:
    if seen is None:
        return "has not registered"
    if seen.liveness != ALIVE or seen.seen_age_ms is None or seen.seen_age_ms > SEEN_AGE_MS_MAX:
        return "is not heard"
    if node.devices is not None and len(seen.description.devices) != node.devices:
        return "has not reported its devices"
    if used is None or used.liveness != ALIVE:
        return "is not known to the scheduler"
    if len(used.devices) != len(seen.description.devices):
        return "is known to the scheduler with other devices"
    if not (used.schedulable or used.cordoned or used.draining):
        return "gets no work"
    return ""


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _ask(bus: Bus, what: str, kind: type[V]) -> V | None:
    """The service's answer, None when there is none or it is a refusal."""
    try:
        message = await bus.request(
            f"{ROOT}.query.{what}", msgspec.json.encode(Empty()), timeout_s=QUERY_TIMEOUT_S
        )
    except Outage:
        return None
    answer: Answer[V] = msgspec.json.decode(
        message.payload,
        type=Answer[kind],  # type: ignore[valid-type]
    )
    return answer.value
