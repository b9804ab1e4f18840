"""Does each job leave one trace: five phases under one root, the same ids every time?"""

from __future__ import annotations

from typing import Any

import pytest

from e2e.mesh import Mesh
from e2e.otlp import Receiver
from e2e.raw import RawClient, a_job

PHASES = ("queue", "place", "prepare", "execute", "settle")


@pytest.mark.lesson(26)
async def test_a_job_is_one_trace_with_five_phases_under_one_root(
    client: RawClient, otlp: Receiver, eventually: Any
) -> None:
    from penstock_contracts import ids

    await client.follow("traced")
    job = a_job("sleep", "0.1", gpus=1)
    await client.submit("traced", job)
    ended = await client.until_ended(job["job_id"])
    trace_id = ids.trace_id(job["job_id"])
    await eventually(lambda: len(otlp.spans(trace_id)) >= 6, timeout_s=15)
    by_id = {span.span_id.hex(): span for span in otlp.spans(trace_id)}
    root = by_id[ids.span_id(job["job_id"], 0, "job")]
    assert root.parent_span_id == b""
    phases = {p: by_id[ids.span_id(job["job_id"], ended["attempt"], p)] for p in PHASES}
    for phase, span in phases.items():
        assert span.parent_span_id == root.span_id, phase
        assert root.start_time_unix_nano <= span.start_time_unix_nano, phase
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    starts = [phases[phase].start_time_unix_nano for phase in PHASES]
    assert starts == sorted(starts)
    executed = phases["execute"]
    took_ms = (executed.end_time_unix_nano - executed.start_time_unix_nano) / 1e6
    assert took_ms >= 90


async def test_the_trace_a_job_is_given_is_the_one_that_is_exported(
    client: RawClient,
) -> None:
    from penstock_contracts import ids

    await client.follow("traced")
    job = a_job("sh", "-c", "echo $TRACEPARENT")
    await client.submit("traced", job)
    ended = await client.until_ended(job["job_id"])
    written = (await client.stored_log("traced", job["job_id"], "stdout")).decode().strip()
    assert written == ids.traceparent(job["job_id"], ended["attempt"], "execute")


@pytest.mark.lesson(26)
async def test_a_follower_that_starts_again_derives_the_same_spans(
    mesh: Mesh, client: RawClient, otlp: Receiver, eventually: Any
) -> None:
    from penstock_contracts import ids

    await client.follow("traced")
    for _ in range(2):
        job = a_job("true", gpus=1)
        await client.submit("traced", job)
        await client.until_ended(job["job_id"])
        mesh.kill(mesh.pid_of("metering"))
        trace_id = ids.trace_id(job["job_id"])
        await eventually(lambda trace_id=trace_id: len(otlp.spans(trace_id)) >= 6, timeout_s=20)
        expected = {ids.span_id(job["job_id"], 1, phase) for phase in PHASES}
        expected.add(ids.span_id(job["job_id"], 0, "job"))
        assert {span.span_id.hex() for span in otlp.spans(trace_id)} == expected
