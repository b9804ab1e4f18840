"""Is this agent well, and what does it hold and owe?

For whoever asks over HTTP: readiness and metrics. It does not know what follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from penstock_bus.port import Bus
from penstock_node_agent.agent import Agent
from penstock_runtime.metrics import Metric


def why_not_ready(bus: Bus, agent: Agent) -> str | None:
    if not bus.connected:
        return "not connected to the broker"
    if not agent.effects.link.connected or not agent.state.ready:
        return "the reaper has not told what runs"
    return None


def metrics(agent: Agent) -> Iterator[Metric]:
    labels = {"node": agent.state.node}
    for name, value in agent.counts().items():
        yield Metric(f"penstock_agent_{name}", "gauge", f"{name} of this node.", value, labels)
    yield Metric(
        "penstock_agent_output_dropped_bytes",
        "counter",
        "Output that there was no room for while it could not be stored.",
        agent.effects.room.dropped_bytes,
        labels,
    )
    failures: dict[str, Callable[[], int]] = {
        "reports": lambda: agent.reports.failures,
        "usage": lambda: agent.usage.failures,
        "logs": lambda: agent.effects.shipper.failures,
        "reaper": lambda: agent.effects.link.restarts,
    }
    for kind, count in failures.items():
        yield Metric(
            "penstock_agent_failures",
            "counter",
            "Messages not stored at the first try, and reapers started.",
            count(),
            {**labels, "kind": kind},
        )
