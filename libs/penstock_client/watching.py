"""What is going on in the mesh, asked again and again?

Readings arrive by subscription, and the last ones of every node are read at the start; nodes and
jobs are asked for. What a service does not answer stays as it was, and is said to be old. It does
not know how it is shown.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

import msgspec

from penstock_bus.port import BusRefusal, Message, Outage, Subscription
from penstock_client.client import Client
from penstock_client.failures import Unavailable
from penstock_client.overview import Overview, overview_of
from penstock_client.questions import ask
from penstock_client.subjects import ANY, subject_of
from penstock_contracts.errors import MALFORMED
from penstock_contracts.jobs import RUNNING
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import PAGE_MAX, JobsQuery, JobsView, JobView, NodeUse
from penstock_contracts.samples import NodeSample

STREAM = "SAMPLES"
FRESH_SAMPLES = 3
"""Readings are believed for the time of so many."""
FRESH_S_MIN = 5.0
WAITING_MAX = 100
LAST_AT_ONCE = 64
NODES_READ_MAX = 1_024
"""Of so many nodes the last readings are read at the start; others come with their next."""

_decode = msgspec.json.Decoder(NodeSample).decode


class Watching:
    """`async with` begins to listen; `look` asks. `look` raises Unavailable only when nothing has
    ever been answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._samples: dict[str, tuple[float, NodeSample]] = {}
        self._nodes: tuple[NodeView, ...] | None = None
        self._use: dict[str, NodeUse] = {}
        self._jobs: tuple[JobView, ...] = ()
        self._more = False
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Watching:
        subject = subject_of("node_sample", node=ANY)
        self._subscription = await self._client.bus.subscribe(subject, self._on_sample)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._subscription is not None:
            await self._subscription.close()

    async def look(self, now_ms: int) -> Overview:
        client, first = self._client, self._nodes is None
        answers: Any = await asyncio.gather(
            client.nodes(), client.nodes_use(), self._live_jobs(), return_exceptions=True
        )
        nodes, use, jobs = answers
        silent: list[str] = []
        for answer in answers:
            if isinstance(answer, Unavailable):
                silent.append(answer.service or "the mesh")
            elif isinstance(answer, BaseException):
                raise answer
        if not isinstance(nodes, Unavailable):
            self._nodes = nodes.nodes
        elif self._nodes is None:
            raise nodes
        if not isinstance(use, Unavailable):
            self._use = {entry.node: entry for entry in use.nodes}
        if not isinstance(jobs, Unavailable):
            self._jobs, self._more = jobs.jobs, jobs.more
        if first:
            await self._read_last(now_ms)
        return overview_of(
            now_ms,
            self._nodes or (),
            self._use,
            self._jobs,
            self._fresh(),
            more=self._more,
            silent=tuple(dict.fromkeys(silent)),
        )

    async def _live_jobs(self) -> JobsView:
        """All that run, and the newest of the others."""
        bus = self._client.bus
        newest, running = await asyncio.gather(
            ask(bus, "scheduler", "jobs", JobsQuery(limit=WAITING_MAX), JobsView),
            ask(bus, "scheduler", "jobs", JobsQuery(state=RUNNING, limit=PAGE_MAX), JobsView),
        )
        found = {job.job_id: job for job in (*newest.jobs, *running.jobs)}
        return JobsView(tuple(found.values()), newest.more or running.more)

    async def _read_last(self, now_ms: int) -> None:
        """The last readings of every node, as far as they are kept."""
        names = [view.description.node for view in self._nodes or ()][:NODES_READ_MAX]
        for begin in range(0, len(names), LAST_AT_ONCE):
            some = names[begin : begin + LAST_AT_ONCE]
            await asyncio.gather(*(self._read_one(name, now_ms) for name in some))

    async def _read_one(self, node: str, now_ms: int) -> None:
        try:
            stored = await self._client.bus.read_last(STREAM, subject_of("node_sample", node=node))
        except (Outage, BusRefusal):
            return  # the next reading comes by itself
        if stored is not None and node not in self._samples:
            age_ms = now_ms - stored.time_ns // 1_000_000
            self._keep(stored.payload, max(0, age_ms) / 1000)

    def _on_sample(self, message: Message) -> None:
        self._keep(message.payload)

    def _keep(self, payload: bytes, age_s: float = 0.0) -> None:
        try:
            sample = _decode(payload)
        except MALFORMED:
            return  # of another version
        heard_s = asyncio.get_running_loop().time() - age_s
        self._samples[sample.node] = heard_s, sample

    def _fresh(self) -> dict[str, NodeSample]:
        now_s = asyncio.get_running_loop().time()
        fresh: dict[str, NodeSample] = {}
        for node, (heard_s, sample) in list(self._samples.items()):
            if now_s - heard_s <= max(FRESH_S_MIN, FRESH_SAMPLES * sample.every_ms / 1000):
                fresh[node] = sample
            else:
                del self._samples[node]
        return fresh
