"""Does a reader get each byte of a job's output once and in order, and say what is missing?"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest

from client.builders import a_spec
from client.mesh import FakeJob, FakeMesh
from penstock_client import logs as logs_module
from penstock_client.client import Client
from penstock_client.logs import LogChunk, LogReader, MissingOutput

Texts = dict[str, bytes]


@pytest.fixture
def job(mesh: FakeMesh) -> FakeJob:
    return FakeJob(mesh, "acme", a_spec())


@pytest.fixture
async def reader(client: Client, job: FakeJob) -> AsyncIterator[LogReader]:
    async with client.log_reader(job.spec.job_id, "acme") as reader:
        yield reader


async def collect(chunks: AsyncIterator[list[LogChunk]], into: Texts | None = None) -> Texts:
    texts: Texts = defaultdict(bytes) if into is None else into
    async for batch in chunks:
        for chunk in batch:
            key = f"{chunk.attempt}.{chunk.rank}.{chunk.stream}"
            if into is None:
                assert chunk.offset == len(texts[key])
            texts[key] += chunk.data
    return texts


async def test_live_output_arrives_in_order_on_its_own_stream(
    job: FakeJob, reader: LogReader
) -> None:
    for number in range(5):
        await job.log(b"out %d\n" % number)
        await job.log(b"err %d\n" % number, "stderr")
    reader.end(job.log_bytes)
    assert await collect(reader.follow()) == {
        "1.0.stdout": b"out 0\nout 1\nout 2\nout 3\nout 4\n",
        "1.0.stderr": b"err 0\nerr 1\nerr 2\nerr 3\nerr 4\n",
    }
    assert reader.missing == []


async def test_output_from_before_the_subscription_is_read_first(
    client: Client, job: FakeJob
) -> None:
    await job.log(b"before ")
    async with client.log_reader(job.spec.job_id, "acme") as reader:
        texts = await collect(reader.stored())
        await job.log(b"after")
        reader.end(job.log_bytes)
        async for chunks in reader.follow():
            for chunk in chunks:
                texts["1.0.stdout"] += chunk.data
    assert texts == {"1.0.stdout": b"before after"}


async def test_the_end_waits_for_bytes_that_are_still_on_their_way(
    job: FakeJob, reader: LogReader
) -> None:
    reader.end({"1.0.stdout": 9})
    following = asyncio.ensure_future(collect(reader.follow()))
    await job.log(b"at last")
    assert not following.done()
    await job.log(b"!\n")
    assert await following == {"1.0.stdout": b"at last!\n"}


async def test_a_gap_is_filled_from_the_stream_and_repeats_are_dropped(
    mesh: FakeMesh, job: FakeJob, reader: LogReader
) -> None:
    data = random.Random(7).randbytes(40_000)
    pieces = [data[i : i + 100] for i in range(0, len(data), 100)]
    hear = reader._on_message
    assert reader._subscription is not None
    await reader._subscription.close()
    generator = random.Random(8)
    reader._subscription = await mesh.bus.subscribe(
        job.log_subject(),
        lambda message: [hear(message) for _ in range(generator.choice((0, 1, 1, 2)))],
    )
    following = asyncio.ensure_future(collect(reader.follow()))
    for number, piece in enumerate(pieces):
        await job.log(piece)
        if number % 50 == 0:  # an agent that starts again repeats its last chunks
            await job.log(piece, at=number * 100)
    reader.end(job.log_bytes)
    assert (await following)["1.0.stdout"] == data
    assert reader.missing == []


async def test_a_chunk_that_was_stored_late_is_put_in_its_place(
    client: Client, job: FakeJob
) -> None:
    await job.log(b"one ", at=0)
    await job.log(b"three", at=8)
    await job.log(b"two ", at=4)
    async with client.log_reader(job.spec.job_id, "acme") as reader:
        assert await collect(reader.stored()) == {"1.0.stdout": b"one two three"}
        assert reader.missing == []


@pytest.mark.lesson(14)
async def test_bytes_that_never_come_are_called_missing(job: FakeJob, reader: LogReader) -> None:
    await job.log(b"start")
    await job.log(b"later", at=10)
    reader.end({"1.0.stdout": 20, "1.0.stderr": 3}, patience_s=0.05)
    texts: Texts = defaultdict(bytes)
    assert await collect(reader.follow(), texts) == {"1.0.stdout": b"startlater"}
    assert reader.missing == [
        MissingOutput(1, 0, "stdout", 5, 10),
        MissingOutput(1, 0, "stdout", 15, 20),
        MissingOutput(1, 0, "stderr", 0, 3),
    ]


async def test_output_whose_beginning_the_stream_has_dropped_is_read_from_there(
    mesh: FakeMesh, client: Client, job: FakeJob
) -> None:
    await job.log(b"old ")
    await job.log(b"new")
    await mesh.bus.purge("LOGS", up_to_seq=1)
    async with client.log_reader(job.spec.job_id, "acme") as reader:
        texts: Texts = defaultdict(bytes)
        assert await collect(reader.stored(), texts) == {"1.0.stdout": b"new"}
    assert reader.missing == [MissingOutput(1, 0, "stdout", 0, 4)]


async def test_a_slow_reader_keeps_memory_bounded_and_loses_nothing(
    job: FakeJob, reader: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "LIVE_BYTES_MAX", 1000)
    data = random.Random(9).randbytes(100_000)
    for start in range(0, len(data), 500):
        await job.log(data[start : start + 500])
    assert reader._live_bytes <= 1000
    reader.end(job.log_bytes)
    assert (await collect(reader.follow()))["1.0.stdout"] == data


async def test_one_rank_is_read_without_the_others(client: Client, job: FakeJob) -> None:
    async with client.log_reader(job.spec.job_id, "acme", rank=1) as reader:
        for rank in range(3):
            await job.log(b"rank %d\n" % rank, rank=rank)
        reader.end(job.log_bytes)
        assert await collect(reader.follow()) == {"1.1.stdout": b"rank 1\n"}


async def test_a_job_that_says_nothing_about_its_output_is_read_to_what_is_stored(
    job: FakeJob, reader: LogReader
) -> None:
    await job.log(b"before the node was lost")
    reader.end(None)
    assert await collect(reader.follow()) == {"1.0.stdout": b"before the node was lost"}


async def test_empty_output_ends_at_once(reader: LogReader) -> None:
    reader.end({"1.0.stdout": 0, "1.0.stderr": 0})
    assert await asyncio.wait_for(collect(reader.follow()), 1) == {}


HUGE = "9" * 5_000


@pytest.mark.parametrize(
    "end", [f"1.{HUGE}.stdout", "1.0.other", "1.0.-", "1.²0.stdout", f"{HUGE}.0.stderr"]
)
async def test_output_that_a_node_names_wrongly_is_passed_over(
    job: FakeJob, reader: LogReader, end: str
) -> None:
    subject = job.log_subject().removesuffix("1.0.stdout") + end
    await job.mesh.store(subject, b"forged", {"Penstock-Offset": "0"})
    await job.mesh.store(job.log_subject(), b"forged", {"Penstock-Offset": HUGE})
    await job.log(b"true")
    reader.end(job.log_bytes)
    assert await collect(reader.follow()) == {"1.0.stdout": b"true"}


async def test_dropped_output_is_marked_where_it_was_and_is_not_missing(
    job: FakeJob, reader: LogReader
) -> None:
    await job.log(b"before")
    await job.drop(100)
    await job.log(b"after")
    reader.end(job.log_bytes)
    chunks = [chunk async for batch in reader.follow() for chunk in batch]
    assert [(chunk.offset, chunk.data, chunk.dropped) for chunk in chunks] == [
        (0, b"before", 0),
        (6, b"", 100),
        (106, b"after", 0),
    ]
    assert reader.missing == []


async def test_what_was_stored_though_it_was_said_to_be_dropped_is_shown(
    client: Client, job: FakeJob
) -> None:
    await job.log(b"one ")
    await job.log(b"two ")
    await job.drop(14, at=4)
    await job.log(b"three", at=18)
    async with client.log_reader(job.spec.job_id, "acme") as reader:
        chunks = [chunk async for batch in reader.stored() for chunk in batch]
    assert [(chunk.offset, chunk.data, chunk.dropped) for chunk in chunks] == [
        (0, b"one ", 0),
        (4, b"two ", 0),
        (8, b"", 10),
        (18, b"three", 0),
    ]
    assert reader.missing == []


@pytest.mark.parametrize(
    "headers",
    [{"Penstock-Dropped": "0"}, {"Penstock-Dropped": HUGE}, {"Penstock-Dropped": "-1"}],
)
async def test_a_mark_that_says_nothing_is_passed_over(
    job: FakeJob, reader: LogReader, headers: dict[str, str]
) -> None:
    await job.mesh.store(job.log_subject(), b"", {"Penstock-Offset": "0", **headers})
    await job.mesh.store(
        job.log_subject(), b"both", {"Penstock-Offset": "0", "Penstock-Dropped": "4"}
    )
    await job.log(b"true")
    reader.end(job.log_bytes)
    assert await collect(reader.follow()) == {"1.0.stdout": b"true"}
