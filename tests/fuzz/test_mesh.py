"""Do the services themselves live through what the targets are given, and work on afterwards?"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fuzz.link_targets import check_answer
from fuzz.live_mesh import Eventually, LiveMesh, a_new_job, encode, live_mesh
from fuzz.mutation import Given, Mutator
from fuzz.scheduler_world import steps
from inventory.builders import a_description, a_heartbeat
from penstock_bus.port import BusRefusal, Message, NoResponders, Outage
from penstock_bus.subjects import matches
from penstock_contracts.ids import ROOT
from penstock_contracts.jobs import CancelJob
from penstock_contracts.leases import NodeReport
from penstock_contracts.message_type import CORE, SERVICE
from penstock_contracts.nodes import Device
from penstock_contracts.queries import Answer, SchedulerAudit
from penstock_contracts.registry import MESSAGES
from penstock_contracts.usage import DeviceCounter, Segment, UsageBatch

ROUND = 40
FORGED = ("penstock.v1.journal.jobs", "penstock.v1.journal.nodes", "$KV.LOCKS.scheduler")
"""Where a hostile asker would have an answer delivered."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def good(mesh: LiveMesh) -> list[Given]:
    """Every message that somebody outside may send, as it would be right now."""
    state = mesh.scheduler.state()
    job_id = next(iter(state.jobs), a_new_job().job_id)
    found = [
        Given(f"{ROOT}.request.job.acme.submit", encode(a_new_job(gpus=1, env={"A": "b"}))),
        Given(f"{ROOT}.request.job.acme.submit", encode({"jobs": [a_new_job(), a_new_job()]})),
        Given(f"{ROOT}.request.job.other.cancel", encode(CancelJob(job_id, "enough"))),
        Given(f"{ROOT}.node.n1.description", encode(a_description("n1", boot_id="boot-1"))),
        Given(f"{ROOT}.node.n1.heartbeat", a_heartbeat("n1")),
        Given(f"{ROOT}.command.node.n1.cordon", b'{"reason":"disk","deadline_s":60}'),
        Given(f"{ROOT}.command.node.n1.uncordon", b"{}"),
        *(Given(f"{ROOT}.query.scheduler.{what}", encode({"job_id": job_id, "limit": 5}))
          for what in ("job", "jobs", "explain", "nodes", "audit")),
        *(Given(f"{ROOT}.query.inventory.{what}", b'{"node":"n1","after":""}')
          for what in ("node", "nodes", "audit")),
        *(Given(f"{ROOT}.query.metering.{what}", encode({"job_id": job_id, "from_ms": 5}))
          for what in ("job", "jobs", "usage")),
    ]  # fmt: skip
    for lease in list(state.leases.values())[:3]:
        report = NodeReport(lease.node, "boot-1", tuple(steps(lease)[:3]))
        found.append(Given(f"{ROOT}.node.{lease.node}.report", encode(report)))
        segment = Segment(
            lease_seq=lease.lease_seq, job_id=lease.job_id, tenant="acme", attempt=1, rank=0, seq=0,
            t0_ms=5, t1_ms=9, devices=lease.uuids,
        )  # fmt: skip
        counters = (DeviceCounter("GPU-0", 5, 9, 4_000),)
        batch = UsageBatch("n1", "boot-1", 1, (segment,), counters)
        found.append(Given(f"{ROOT}.usage.n1", encode(batch)))
    return found


class Sender:
    """Sends as anybody outside could: by core publish, append or request, with forged replies."""

    def __init__(self, mesh: LiveMesh, rng: random.Random) -> None:
        self.mesh, self.rng = mesh, rng
        self.asked = self.answered = 0

    async def send(self, given: Given) -> None:
        kind = next((m for m in MESSAGES if matches(m.wildcard, given.subject)), None)
        outside = self.mesh.outside
        if self.rng.random() < 0.1:
            reply = self.rng.choice(FORGED)
            self.mesh.broker.route(Message(given.subject, given.payload, reply))
            return
        try:
            if kind is None or kind.carrier == CORE:
                outside.publish_nowait(given.subject, given.payload)
            elif kind.carrier == SERVICE:
                self.asked += 1
                outside.request_nowait(
                    given.subject, given.payload, self._hear(kind.name), timeout_s=20.0
                )
            else:
                await outside.append(given.subject, given.payload)
        except (BusRefusal, NoResponders, ValueError):
            return  # the broker takes no such subject or size

    def _hear(self, name: str) -> Any:
        def on_done(answer: Message | Exception) -> None:
            self.answered += 1
            if isinstance(answer, Message):
                check_answer(name, answer.payload)
            elif not isinstance(answer, NoResponders):
                raise answer

        return on_done


async def give(mesh: LiveMesh, seed: int, count: int, eventually: Eventually) -> None:
    rng = random.Random(seed)
    sender = Sender(mesh, rng)
    words: Sequence[str | int] = ("n1", "acme", "other", "GPU-0", "GPU-1", "boot-1", 0, 1, 2, 3, 5)
    for _ in range(0, count, ROUND):
        valid = [given for given in good(mesh) if not given.subject.endswith("audit")]
        mutator = Mutator(rng, words)
        for _ in range(ROUND):
            given = mutator.mutate(rng.choice(valid), valid)
            if not _is_wanted(given):
                await sender.send(given)
        await eventually(mesh.read_up, timeout_s=60)
        await eventually(lambda: sender.answered == sender.asked, timeout_s=60)


def _is_wanted(given: Given) -> bool:
    """An operator's commands that take the node away, which later rounds need."""
    return given.subject.startswith(f"{ROOT}.command.") and given.subject.endswith(
        ("drain", "fence", "remove")
    )


async def check_works_on(mesh: LiveMesh, eventually: Eventually) -> None:
    """A good job is still taken, the audit is clean, and the journals hold our entries alone."""
    described = a_description("n9", devices=(Device(uuid="GPU-9", index=0, model="H100"),))
    await mesh.outside.append(f"{ROOT}.node.n9.description", encode(described))
    await eventually(lambda: "n9" in mesh.scheduler.state().nodes)
    spec = a_new_job(gpus=1)
    await mesh.submit(spec)
    assert await eventually(lambda: mesh.explanation(spec), timeout_s=20)
    message = await mesh.outside.request(f"{ROOT}.query.scheduler.audit", b"{}", timeout_s=20.0)
    audit = msgspec.json.decode(message.payload, type=Answer[SchedulerAudit]).value
    assert audit is not None and audit.findings == ()
    for stream, writer in (
        ("JOBS", mesh.scheduler.service.writer),
        ("NODES", mesh.inventory.service.writer),
    ):
        for entry in await mesh.outside.read_many(stream, 1, "", limit=1_000):
            assert msgspec.json.decode(entry.payload)["writer"] == writer


@pytest.mark.parametrize(
    "count", [400, pytest.param(8_000, marks=pytest.mark.long)], ids=["few", "many"]
)
async def test_the_services_live_through_bad_input_and_work_on(
    tmp_path: Path, eventually: Eventually, count: int
) -> None:
    async with live_mesh(tmp_path, eventually) as mesh:
        await give(mesh, 20_261_123, count, eventually)
        await check_works_on(mesh, eventually)
    assert not isinstance(mesh.lives["scheduler"].result(), Outage)
