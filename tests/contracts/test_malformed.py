"""Does every service take rubbish for rubbish, whatever kind of rubbish it is?"""

from __future__ import annotations

import msgspec
import pytest

from penstock_bus.port import Message, StoredMessage
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import CancelJob
from penstock_contracts.journal import JobFact
from penstock_contracts.leases import NodeReport, Released
from penstock_inventory.messages import Inbox
from penstock_runtime.entries import entry_decoder
from penstock_scheduler.core.events import RequestBroken
from penstock_scheduler.inputs import decode_nodes, decode_report, decode_request

DEEP = b"[" * 100_000 + b"]" * 100_000
RUBBISH = {
    "not JSON": b"{",
    "another shape": b'{"job_id": 7}',
    "not UTF-8": b'{"job_id": "\xff"}',
    "nested too deeply": b'{"job_id": "x", "more": ' + DEEP + b"}",
}


@pytest.fixture(params=RUBBISH.values(), ids=RUBBISH.keys())
def rubbish(request: pytest.FixtureRequest) -> bytes:
    payload: bytes = request.param
    return payload


def test_decoding_it_raises_nothing_else(rubbish: bytes) -> None:
    with pytest.raises(MALFORMED):
        msgspec.json.decode(rubbish, type=CancelJob)


def test_a_request_of_it_is_answered(rubbish: bytes) -> None:
    message = StoredMessage("penstock.v1.request.job.acme.cancel", rubbish, 7, 0)
    (event,) = decode_request(message)
    assert isinstance(event, RequestBroken)
    assert event.refusal.code in ("malformed_json", "invalid_field")


def test_a_report_or_description_of_it_is_dropped(rubbish: bytes) -> None:
    payload = rubbish.replace(b"job_id", b"node")
    subject = "penstock.v1.node.n1.report"
    assert not decode_report(StoredMessage(subject, payload, 7, 0))
    assert not decode_nodes(StoredMessage("penstock.v1.journal.nodes", payload, 7, 0))
    inbox = Inbox()
    description = StoredMessage("penstock.v1.node.n1.description", payload, 7, 0)
    assert not inbox.description(description)
    assert inbox.heartbeat(Message("penstock.v1.node.n1.heartbeat", payload)) != "n1"


def test_what_one_node_has_written_counts_not_as_another_s() -> None:
    released = Released(job_id=ulid(1, 1), attempt=1, rank=0, lease_seq=1, at_ms=1)
    payload = msgspec.json.encode(NodeReport("n1", "", (released,)))
    assert decode_report(StoredMessage("penstock.v1.node.n1.report", payload, 7, 0))
    assert not decode_report(StoredMessage("penstock.v1.node.n2.report", payload, 7, 0))


def test_a_journal_entry_of_it_is_skipped(rubbish: bytes) -> None:
    payload = rubbish.replace(b"job_id", b"writer")
    assert entry_decoder(JobFact)(StoredMessage("penstock.v1.journal.jobs", payload, 7, 0)) is None
