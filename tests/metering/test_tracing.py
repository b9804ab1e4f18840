"""Does a collector get one trace per job, and does metering go on without one?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.otlp import Receiver, receiving
from metering.conftest import Ledger
from metering.mesh import Mesh, prepare, running
from metering.world import World
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus
from penstock_contracts.ids import span_id, trace_id
from penstock_metering.core.spans import PHASES
from penstock_metering.exports import otlp, tracing


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(time.time_ns)


@pytest.fixture
async def traced_bus(broker: MemoryBroker) -> AsyncIterator[Bus]:
    made = await memory.connect(broker, name="metering")
    await prepare(made)
    yield made
    await made.close()


def identities(spans: list[Any]) -> dict[str, tuple[str, int, int]]:
    return {
        span.span_id.hex(): (span.name, span.start_time_unix_nano, span.end_time_unix_nano)
        for span in spans
    }


def check_trace(receiver: Receiver, job_id: str) -> None:
    spans = {span.name: span for span in receiver.spans(trace_id(job_id))}
    assert set(spans) == {"job", *PHASES}
    root = spans.pop("job")
    assert root.parent_span_id == b""
    assert root.span_id.hex() == span_id(job_id, 0, "job")
    for phase, span in spans.items():
        assert span.span_id.hex() == span_id(job_id, 1, phase)
        assert span.parent_span_id == root.span_id


def follower(mesh: Mesh) -> tracing.TracingFollower:
    assert mesh.metering.tracing is not None
    return mesh.metering.tracing


def exported(mesh: Mesh) -> int:
    return follower(mesh).exported


@pytest.mark.lesson(23)
async def test_a_collector_gets_one_trace_per_job_and_the_same_ids_again(
    traced_bus: Bus, world: World, ledger: Ledger, eventually: Any
) -> None:
    agent = world.a_node(gpus=1)
    jobs = [world.a_run("n1", agent.devices) for _ in range(20)]
    with receiving() as receiver:
        mesh = Mesh(traced_bus, world, ledger, receiver.endpoint)
        async with running(mesh):
            await eventually(lambda: exported(mesh) == 20 * 6)
        first = {job.job_id: receiver.spans(trace_id(job.job_id)) for job in jobs}
        for job in jobs:
            assert len(first[job.job_id]) == 6
            check_trace(receiver, job.job_id)
        await traced_bus.kv_delete("CURSORS", "JOBS.tracing")
        again = mesh.restarted(ledger, receiver.endpoint)
        async with running(again):
            await eventually(lambda: exported(again) == 20 * 6)
        for job in jobs:
            repeated = receiver.spans(trace_id(job.job_id))
            assert len(repeated) == 12
            assert identities(repeated[6:]) == identities(first[job.job_id])


async def test_a_restart_goes_on_behind_the_jobs_that_are_over(
    traced_bus: Bus, world: World, ledger: Ledger, eventually: Any
) -> None:
    agent = world.a_node(gpus=1)
    done = world.a_run("n1", agent.devices)
    with receiving() as receiver:
        mesh = Mesh(traced_bus, world, ledger, receiver.endpoint)
        async with running(mesh):
            await eventually(lambda: exported(mesh) == 6)
        open_job = world.submit()
        world.grant(open_job, ("n1", agent.devices))
        await mesh.feed()
        for _ in range(2):
            async with running(mesh.restarted(ledger, receiver.endpoint)):
                wanted = trace_id(open_job.job_id)
                await eventually(lambda wanted=wanted: receiver.spans(wanted))
        assert len(receiver.spans(trace_id(done.job_id))) == 6
        world.start(open_job)
        world.exit(open_job)
        world.release(open_job)
        world.finish(open_job)
        await mesh.feed()
        async with running(mesh.restarted(ledger, receiver.endpoint)):
            await eventually(lambda: len(receiver.spans(trace_id(open_job.job_id))) >= 8)
        check_trace(receiver, open_job.job_id)


async def test_without_a_collector_metering_goes_on_and_spans_are_counted(
    traced_bus: Bus,
    world: World,
    ledger: Ledger,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "EXPORT_S_MAX", 0.0)
    monkeypatch.setattr(tracing, "RETRY_S", 0.01)
    monkeypatch.setattr(otlp, "TIMEOUT_S", 0.1)
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    mesh = Mesh(traced_bus, world, ledger, "http://127.0.0.1:9")
    async with running(mesh):
        assert (await mesh.audit()).unaccounted_ms == 0
        await eventually(lambda: follower(mesh).dropped == 6)


def test_the_tracing_library_is_not_imported_unless_traces_are_wanted() -> None:
    program = (
        "import sys, penstock_metering.service as s;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == 0
