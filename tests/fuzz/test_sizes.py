"""Is there a message from outside that becomes a fact which no journal entry holds?

The largest of each kind, through the real decoders and cores. A broker takes 1 MiB; an entry that
is larger could never be committed, and its writer would try for ever.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fuzz.runner import ANSWER_BYTES_MAX
from inventory.builders import as_stored
from penstock_bus.port import StoredMessage
from penstock_contracts import bounds, streams
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import PLACES_MAX, REQUEST_BYTES_MAX, JobSpec
from penstock_contracts.journal import LeaseGranted, RankPlacement, RequestRefused
from penstock_contracts.leases import Exited, NodeReport
from penstock_contracts.nodes import Device, NodeDescription
from penstock_contracts.registry import MESSAGES
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.messages import Inbox
from penstock_runtime.entries import Committed
from penstock_runtime.transition import ENTRY_OVERHEAD_BYTES
from penstock_scheduler.core.fleet import image_of
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.requests import decide_submit
from penstock_scheduler.inputs import decode_report, decode_request
from penstock_scheduler.public_facts import public_messages
from scheduler.driver import EPOCH_NS

FACT_BYTES_MAX = ANSWER_BYTES_MAX - ENTRY_OVERHEAD_BYTES
NAME = "n" * 63
UUID = "U" * bounds.DEVICE_LETTERS_MAX
WIDE = "\U0001f600"  # four bytes, and no escape
JOB = ulid(EPOCH_NS // 1_000_000, 1)


def size_of(value: Any) -> int:
    return len(msgspec.json.encode(value))


@pytest.mark.parametrize("gpus", [0, 1, 2, 8, 64, 255])
def test_the_largest_grant_fits(gpus: int) -> None:
    ranks = PLACES_MAX // (1 + gpus)
    assert JobSpec(job_id=JOB, command=("x",), ranks=ranks, gpus=gpus).fault() is None
    assert JobSpec(job_id=JOB, command=("x",), ranks=ranks + 1, gpus=gpus).fault() is not None
    places = tuple(RankPlacement(rank, NAME, (UUID,) * gpus, rank) for rank in range(ranks))
    grant = LeaseGranted(JOB, 1_000, places, 1_000, 10**9, 10**9, NAME)
    assert size_of(grant) < FACT_BYTES_MAX
    nodes = tuple(RankPlacement(p.rank, f"{p.rank:063d}", (), 0) for p in places)
    entry = Committed(
        seq=1,
        term=1,
        writer="w",
        entry_id="e",
        now_ns=1,
        cursors={},
        facts=[LeaseGranted(JOB, 1, nodes, tenant=NAME)],
    )
    for _, _, payload, _ in public_messages(entry):
        assert len(payload) < FACT_BYTES_MAX


BAD_JOBS = {
    "nothing": b"{}",
    "a short name": b'{"job_id":"%s","command":["x"],"env":{"1":""}}' % JOB.encode(),
    "a name to be escaped": b'{"job_id":"%s","command":["x"],"env":{"%s":""}}'
    % (JOB.encode(), b"\\u0001" * 40),
    "a name to be escaped twice": b'{"job_id":"%s","command":["x"],"env":{"%s":""}}'
    % (JOB.encode(), "\U000e0001".encode() * 40),
    "an id that is none": b'{"job_id":"%s","command":["x"]}' % (b"\\" * 120),
}


@pytest.mark.parametrize("job", BAD_JOBS.values(), ids=BAD_JOBS.keys())
def test_the_answer_to_a_request_full_of_bad_jobs_fits(job: bytes) -> None:
    count = min(1_000, (REQUEST_BYTES_MAX - 20) // (len(job) + 1))
    payload = b'{"jobs":[' + b",".join([job] * count) + b"]}"
    assert len(payload) <= REQUEST_BYTES_MAX
    message = StoredMessage("penstock.v1.request.job.acme.submit", payload, 7, 1)
    (event,) = decode_request(message)
    (fact,) = decide_submit(State(), event, EPOCH_NS)  # type: ignore[arg-type]
    assert isinstance(fact, RequestRefused)
    assert len(fact.items) == count
    assert size_of(fact) < FACT_BYTES_MAX


def test_the_largest_description_fits_as_a_fact_of_either_journal() -> None:
    text = WIDE * bounds.TEXT_LETTERS_MAX
    devices = tuple(
        Device(
            uuid="U" * (bounds.DEVICE_LETTERS_MAX - 3) + f"{index:03d}",
            index=index,
            model=text,
            memory_mib=1,
        )
        for index in range(bounds.DEVICES_PER_NODE_MAX)
    )
    labels = {text[:-2] + f"{index:02d}": text for index in range(bounds.NODE_LABELS_MAX)}
    said = NodeDescription(
        node="n1",
        boot_id=UUID,
        joined_ms=1,
        cpu_milli=1,
        memory_mib=1,
        devices=devices,
        labels=labels,
    )
    (event,) = Inbox().description(as_stored("n1", msgspec.json.encode(said)))
    (fact,) = Fleet().decide(event, 1, 1)
    assert size_of(fact) < FACT_BYTES_MAX
    assert size_of(image_of(said, None)) < FACT_BYTES_MAX


def test_the_largest_report_of_an_end_fits_as_a_fact() -> None:
    message = "\x01" * bounds.MESSAGE_LETTERS_MAX
    item = Exited(
        job_id=JOB,
        attempt=1,
        rank=0,
        lease_seq=1,
        at_ms=1,
        reason="\x01" * bounds.NAME_LETTERS_MAX,
        message=message,
    )
    payload = msgspec.json.encode(NodeReport("n1", "b", (item,)))
    (event,) = decode_report(StoredMessage("penstock.v1.node.n1.report", payload, 7, 1))
    assert size_of(event.item) < FACT_BYTES_MAX // 50
    longer = payload.replace(b'"message":"', b'"message":"x')
    assert not decode_report(StoredMessage("penstock.v1.node.n1.report", longer, 7, 1))


def test_every_stream_that_outsiders_write_bounds_its_messages() -> None:
    outside = {"client", "node"}
    carriers = {m.carrier for m in MESSAGES if outside & set(m.writers)} - {"core", "request-reply"}
    for stream in streams.STREAMS:
        if stream.name in carriers:
            assert stream.max_message_bytes is not None, stream.name
            assert stream.max_message_bytes < FACT_BYTES_MAX
