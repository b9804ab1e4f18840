"""Does the whole service answer, audit and keep its place, over the twin and over a real broker?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from metering import mesh as mesh_module
from metering.conftest import Ledger
from metering.mesh import Mesh, running
from metering.world import World
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus
from penstock_contracts.errors import Refusal
from penstock_contracts.journal import JobFinished
from penstock_contracts.queries import (
    JobQuery,
    JobsQuery,
    JobsView,
    JobView,
    MeteringAudit,
    MeteringAuditQuery,
    UsageQuery,
    UsageView,
)
from penstock_metering import audit, intake, service
from penstock_metering.ledger import database
from penstock_runtime.cursors import read_cursors


@pytest.fixture
async def twin() -> AsyncIterator[Bus]:
    made = await memory.connect(MemoryBroker(time.time_ns), name="metering")
    await mesh_module.prepare(made)
    yield made
    await made.close()


@pytest.fixture
async def real(bus_factory: Any) -> Bus:
    made: Bus = await bus_factory("metering")
    await mesh_module.prepare(made)
    return made


@pytest.fixture(params=["twin", "real"])
def metered_bus(request: pytest.FixtureRequest) -> Bus:
    """Streams and buckets exist; the test runs over both."""
    made: Bus = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks in this test, and what has arrived is committed all the same at once."""
    monkeypatch.setattr(intake, "GATHER_S", 0.01)


@pytest.fixture
def mesh(metered_bus: Bus, world: World, ledger: Ledger) -> Mesh:
    for name in ("n1", "n2"):
        world.a_node(name, gpus=2)
    return Mesh(metered_bus, world, ledger)


async def test_an_audit_closes_the_books_of_running_work_and_finds_nothing(mesh: Mesh) -> None:
    world = mesh.world
    done = world.a_run("n1", world.agents["n1"].devices, tenant="lab")
    mesh.running.append(world.submit())
    world.grant(mesh.running[0], ("n2", world.agents["n2"].devices[:1]))
    world.start(mesh.running[0])
    world.pass_ms(750)
    async with running(mesh):
        said = await mesh.audit()
        assert said.unaccounted_ms == 0
        assert said.findings == ()
        assert said.silent == ()
        assert said.accepted == 2
        assert said.finished == {"succeeded": 1}
        assert said.device_milli_ms["sold"] == 2_000_000 + 750_000
        assert sum(said.device_milli_ms.values()) == said.capacity_milli_ms
        assert said.watermark_ms == world.now_ms
        view = await mesh.ask("job", JobQuery(done.job_id), JobView)
        assert isinstance(view, JobView)
        assert (view.state, view.gpu_milli_ms) == ("succeeded", 2_000_000)
        used = await mesh.ask("usage", UsageQuery(tenant="lab"), UsageView)
        assert isinstance(used, UsageView)
        assert [line.quantity for line in used.lines] == [2_000_000]
        listed = await mesh.ask("jobs", JobsQuery(), JobsView)
        assert isinstance(listed, JobsView)
        assert [job.job_id for job in listed.jobs] == [done.job_id]


@pytest.mark.lesson(24)
async def test_a_node_that_does_not_answer_is_silent_and_not_a_fault(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "NODE_S_MAX", 0.2)
    mesh.world.a_run("n1", mesh.world.agents["n1"].devices)
    mesh.deaf.add("n1")
    mesh.clock.advance(60 * 10**9)
    async with running(mesh):
        said = await mesh.audit()
    assert said.silent == ("n1",)
    assert (said.unaccounted_ms, said.findings) == (0, ())
    assert said.device_milli_ms["unknown"] == 2 * 60_000_000


async def test_an_audit_reports_what_is_wrong(mesh: Mesh) -> None:
    job = mesh.world.a_run("n1", mesh.world.agents["n1"].devices)
    mesh.world.agents["n1"].owed.clear()  # a segment is lost, counters know it
    mesh.world.journal("JOBS", JobFinished(job_id=job.job_id, attempt=1, state="failed"))
    async with running(mesh):
        said = await mesh.audit()
    assert said.unaccounted_ms == 4_000
    assert {f.code for f in said.findings} == {"segments_missing", "fact_after_the_end"}


async def test_an_audit_of_a_future_that_does_not_come_is_refused(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CATCH_UP_S_MAX", 0.1)
    async with running(mesh):
        said = await mesh.ask("audit", MeteringAuditQuery(10_000, 0), MeteringAudit)
    assert isinstance(said, Refusal)
    assert (said.code, "JOBS" in said.message) == ("unavailable", True)


@pytest.mark.parametrize(
    ("what", "question", "code"),
    [
        ("job", b"{", "malformed_json"),
        ("job", b"{}", "invalid_field"),
        ("jobs", b'{"limit":100000}', "invalid_field"),
        ("job", b'{"job_id":"nonesuch"}', "unknown_job"),
        ("usage", b'{"from_ms":1e30}', "invalid_field"),
        ("usage", b'{"from_ms":9223372036854775807}', "invalid_field"),
        ("audit", b"[]", "invalid_field"),
    ],
)
async def test_a_bad_question_is_refused_with_a_code(
    mesh: Mesh, what: str, question: bytes, code: str
) -> None:
    async with running(mesh):
        said = await mesh.ask(what, question, JobView)
    assert isinstance(said, Refusal)
    assert said.code == code


@pytest.mark.usefixtures("unasked")
async def test_committed_cursors_are_published_when_it_stops(mesh: Mesh, eventually: Any) -> None:
    mesh.world.a_run("n1", mesh.world.agents["n1"].devices)
    jobs = len(mesh.world.streams["JOBS"])
    async with running(mesh):
        await eventually(lambda: mesh.metering.progress.committed.get("JOBS") == jobs)
    assert (await read_cursors(mesh.bus))["JOBS.metering"] == jobs


@pytest.mark.usefixtures("unasked")
async def test_it_begins_where_the_stream_begins_when_the_past_was_purged(
    mesh: Mesh, ledger: Ledger, eventually: Any
) -> None:
    await mesh.feed()
    mesh.world.a_run("n1", mesh.world.agents["n1"].devices)
    later = mesh.world.submit()
    await mesh.feed()
    jobs = len(mesh.world.streams["JOBS"])
    await mesh.bus.purge("JOBS", up_to_seq=jobs - 1)
    async with running(mesh):
        await eventually(lambda: mesh.metering.progress.committed.get("JOBS") == jobs)
    findings = ledger.library.findings()
    assert [finding.code for finding in findings] == ["stream_gap"]
    assert findings[0].sentence.startswith(f"JOBS 1 to {jobs - 1} are missing")
    assert ledger.library.job(later.job_id) is not None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No writer waits for a lock."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    others = [one for one in database.POSTGRESQL_SETTINGS if "lock_timeout" not in one]
    monkeypatch.setattr(database, "POSTGRESQL_SETTINGS", (*others, "lock_timeout = '1ms'"))


def hold(ledger: Ledger) -> sa.Connection:
    """Keep everybody from writing until the connection is closed."""
    connection = ledger.database.writing.connect()
    with_row = " FOR UPDATE" if ledger.database.dialect == database.POSTGRESQL else ""
    connection.exec_driver_sql(f"SELECT term FROM ledger_writer{with_row}")
    return connection


@pytest.mark.usefixtures("unasked", "impatient")
async def test_a_busy_database_delays_and_loses_nothing(
    mesh: Mesh, ledger: Ledger, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "RETRY_S", 0.01)
    ledger.reopen()
    mesh = Mesh(mesh.bus, mesh.world, ledger)
    async with running(mesh):
        holder = hold(ledger)
        mesh.world.a_run("n1", mesh.world.agents["n1"].devices)
        await mesh.feed()
        await eventually(lambda: mesh.metering.intake.retries > 2)
        holder.close()
        assert (await mesh.audit()).unaccounted_ms == 0


@pytest.mark.usefixtures("impatient")
async def test_a_ledger_that_is_locked_at_the_start_is_waited_for(
    mesh: Mesh, ledger: Ledger, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "OPEN_RETRY_S", 0.01)
    ledger.reopen()
    mesh = Mesh(mesh.bus, mesh.world, ledger)
    mesh.world.a_run("n1", mesh.world.agents["n1"].devices)
    holder = hold(ledger)

    async def release() -> None:
        await eventually(lambda: mesh.metering.why_not_ready() == "waiting for the ledger")
        holder.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(release())
        async with running(mesh):
            assert (await mesh.audit()).unaccounted_ms == 0
