"""Do facts and output flow over HTTP, and go on where the reader left?"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from client.builders import a_spec
from client.mesh import FakeJob, FakeMesh
from conftest import Eventually
from gateway.conftest import Api, Http

Event = dict[str, Any]


@pytest.fixture
async def job(mesh: FakeMesh) -> FakeJob:
    job = FakeJob(mesh, "acme", a_spec())
    await job.fact("submitted", "queued", "placed", "running")
    return job


def events_of(text: bytes) -> list[Event]:
    """The events of a stream, with their data decoded; comments are left out."""
    events = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if fields:
            events.append({**fields, "data": msgspec.json.decode(fields["data"])})
    return events


async def test_events_are_told_once_each_to_the_end(http: Http, job: FakeJob) -> None:
    async with http.get(f"/v1/jobs/{job.spec.job_id}/events") as response:
        assert response.content_type == "text/event-stream"
        first = await response.content.readuntil(b"\n\n")
        assert events_of(first)[0]["event"] == "submitted"
        await job.finish("failed", exit_code=7)
        rest = events_of(await response.read())
    assert [event["event"] for event in rest] == ["queued", "placed", "running", "failed"]
    last = rest[-1]
    assert last["id"] == f"{last['data']['seq']}.{last['data']['index']}"
    assert last["data"]["exit_code"] == 7


async def test_events_go_on_behind_the_last_one_seen(http: Http, job: FakeJob) -> None:
    await job.finish()
    path = f"/v1/jobs/{job.spec.job_id}/events"
    async with http.get(path) as response:
        events = events_of(await response.read())
    headers = {"Last-Event-ID": events[2]["id"]}
    async with http.get(path, headers=headers) as response:
        assert events_of(await response.read()) == events[3:]
    async with http.get(f"{path}?after={events[-1]['id']}") as response:
        assert response.status == 204


async def test_a_last_event_id_that_is_none_is_refused(api: Api, job: FakeJob) -> None:
    for text in ("x", "1", "1.", "-1.0", "1.2.3", "9" * 50 + ".0"):
        done = await api("GET", f"/v1/jobs/{job.spec.job_id}/events?after={text}")
        assert (done.status, done.code) == (400, "invalid_field")


async def test_output_comes_as_raw_bytes(api: Api, job: FakeJob) -> None:
    data = random.Random(3).randbytes(300_000)
    for start in range(0, len(data), 50_000):
        await job.log(data[start : start + 50_000])
    await job.log(b"oops\n", "stderr")
    await job.finish()
    path = f"/v1/jobs/{job.spec.job_id}/logs"
    assert (await api("GET", f"{path}?stream=stdout")).body == data
    assert (await api("GET", f"{path}?stream=stderr")).body == b"oops\n"
    assert (await api("GET", path)).body == data + b"oops\n"
    assert (await api("GET", f"{path}?rank=1")).body == b""
    assert (await api("GET", f"{path}?since=1h&stream=stderr")).body == b"oops\n"
    assert (await api("GET", f"{path}?until=1h&follow=true")).body == b""
    assert (await api("GET", f"{path}?since=never")).status == 400


async def test_what_a_node_has_dropped_is_said_in_its_place(
    api: Api, http: Http, job: FakeJob
) -> None:
    await job.log(b"one\n")
    await job.drop(9)
    await job.log(b"two\n")
    await job.finish()
    path = f"/v1/jobs/{job.spec.job_id}/logs"
    mark = b"\n[penstock: 9 bytes were dropped here]\n"
    assert (await api("GET", path)).body == b"one\n" + mark + b"two\n"
    async with http.get(path, headers={"Accept": "text/event-stream"}) as response:
        events = events_of(await response.read())
    assert events[1]["data"] == {"attempt": 1, "rank": 0, "offset": 4, "dropped": 9}
    assert [event["event"] for event in events] == ["stdout", "stdout", "stdout", "end"]


async def test_output_is_followed_to_the_end(http: Http, job: FakeJob) -> None:
    await job.log(b"one\n")
    async with http.get(f"/v1/jobs/{job.spec.job_id}/logs?follow=true") as response:
        assert await response.content.readline() == b"one\n"
        await job.log(b"two\n")
        assert await response.content.readline() == b"two\n"
        await job.finish()
        assert await response.read() == b""


async def test_output_comes_as_events_when_asked_for(http: Http, job: FakeJob) -> None:
    await job.log(b"text")
    await job.log(b"\xff\xfe", "stderr")
    await job.finish(log_bytes={"1.0.stdout": 6, "1.0.stderr": 2}, at_ms=0)
    headers = {"Accept": "text/event-stream"}
    async with http.get(f"/v1/jobs/{job.spec.job_id}/logs", headers=headers) as response:
        events = events_of(await response.read())
    assert [event["event"] for event in events] == ["stdout", "stderr", "missing", "end"]
    assert events[0]["data"] == {"attempt": 1, "rank": 0, "offset": 0, "text": "text"}
    assert events[1]["data"]["base64"] == "//4="
    assert (events[2]["data"]["start"], events[2]["data"]["end"]) == (4, 6)


async def test_a_reader_that_leaves_leaves_nothing_behind(
    http: Http, job: FakeJob, eventually: Eventually
) -> None:
    before = len(asyncio.all_tasks())
    async with http.get(f"/v1/jobs/{job.spec.job_id}/events") as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    await eventually(lambda: len(asyncio.all_tasks()) <= before)
