"""What does a mesh answer that answers at once?

A bus for the client library behind the gateway: each question gets its documented answer, each
request is accepted or refused in the same turn, by the services' own types. It does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from client.builders import (
    NOW_MS,
    a_metering_audit,
    a_node_use,
    a_node_view,
    a_scheduler_audit,
    a_view,
    an_inventory_audit,
)
from client.test_bill_page import a_bill
from penstock_bus.port import Appended, Message, StoredMessage
from penstock_bus.subjects import matches
from penstock_bus.wire import check_subject
from penstock_contracts.bills import BillsView, JobAccount
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.explanations import Explanation
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import CancelJob, JobSpec, SubmitJobs
from penstock_contracts.message_type import SERVICE
from penstock_contracts.public import JobEvent
from penstock_contracts.queries import (
    Answer,
    JobsView,
    NodesUseView,
    NodesView,
    UsageView,
)
from penstock_contracts.queue_messages import QueueView
from penstock_contracts.queue_policy import PolicyVersion, QueuePolicy
from penstock_contracts.registry import MESSAGES

encode = msgspec.json.encode
ENDED, LIVE = ulid(NOW_MS, 1), ulid(NOW_MS, 2)
TENANT = "acme"
TENANT_OF = {ENDED: TENANT, LIVE: TENANT}


class InstantMesh:
    """The part of the port that the client uses. `stored` are the requests that it took."""

    connected = True
    counters: dict[str, int] = {}

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes]] = []
        self.heard: list[tuple[str, Callable[[Message], None]]] = []

    def on_reconnect(self, handler: Callable[[], Awaitable[None]]) -> None:
        """It is never away."""

    async def subscribe(
        self, subject: str, handler: Callable[[Message], None], *, queue: str = ""
    ) -> InstantSubscription:
        check_subject(subject)
        self.heard.append((subject, handler))
        return InstantSubscription(self.heard, (subject, handler))

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, headers: object = None
    ) -> Message:
        check_subject(subject)
        for kind in MESSAGES:
            if kind.carrier == SERVICE and matches(kind.wildcard, subject):
                return Message(subject, encode(self._answer(kind.name, kind.payload, payload)))
        raise AssertionError(f"the client asks {subject}")

    def _answer(self, name: str, kind: Any, payload: bytes) -> Answer[Any]:
        try:
            asked = msgspec.json.decode(payload or b"{}", type=kind)
        except msgspec.ValidationError as error:
            return Answer(refusal=Refusal("invalid_field", str(error)))
        except MALFORMED as error:
            return Answer(refusal=Refusal("malformed_json", str(error)))
        known = getattr(asked, "job_id", ENDED) in TENANT_OF
        if not known:
            return Answer(refusal=Refusal("unknown_job", "no such job"))
        if getattr(asked, "node", "node-a") != "node-a":
            return Answer(refusal=Refusal("unknown_node", "no such node"))
        return Answer(value=VALUES[name])

    async def append(
        self, subject: str, payload: bytes, *, timeout_s: float = 5.0, headers: object = None
    ) -> Appended:
        check_subject(subject)
        self.stored.append((subject, payload))
        seq = 1_000 + len(self.stored)
        *_, tenant, verb = subject.split(".")
        if verb == "submit":
            for spec in specs_of(payload):
                self._tell(tenant, spec.job_id, "queued", seq)
        else:
            self._tell(
                tenant, msgspec.json.decode(payload, type=CancelJob).job_id, "cancelled", seq
            )
        return Appended("REQUESTS", seq)

    def _tell(self, tenant: str, job_id: str, fact: str, seq: int) -> None:
        subject = f"penstock.v1.job.{tenant}.{job_id}.{fact}"
        payload = encode(event_of(tenant, job_id, fact, seq))
        for pattern, handler in list(self.heard):
            if matches(pattern, subject):
                handler(Message(subject, payload))

    # -- what is stored ----------------------------------------------------------------------------
    async def read_last(self, stream: str, subject: str) -> StoredMessage | None:
        found = await self.read_many(stream, 1, subject)
        return found[-1] if found else None

    async def read_next(self, stream: str, from_seq: int, subject: str) -> StoredMessage | None:
        found = await self.read_many(stream, from_seq, subject)
        return found[0] if found else None

    async def read_many(
        self, stream: str, from_seq: int, subject: str, *, limit: int = 256
    ) -> Sequence[StoredMessage]:
        check_subject(subject)
        return [m for m in _STREAMS[stream] if m.seq >= from_seq and matches(subject, m.subject)]


class InstantSubscription:
    def __init__(self, heard: list[Any], mine: Any) -> None:
        self._heard, self._mine = heard, mine

    async def close(self) -> None:
        self._heard.remove(self._mine)
        await asyncio.sleep(0)


def specs_of(payload: bytes) -> Sequence[JobSpec]:
    """The jobs of a submit; raises what decoding raises."""
    try:
        return [msgspec.json.decode(payload, type=JobSpec)]
    except msgspec.ValidationError:
        raws = msgspec.json.decode(payload, type=SubmitJobs).jobs
        return [msgspec.json.decode(raw, type=JobSpec) for raw in raws]


def event_of(tenant: str, job_id: str, fact: str, seq: int) -> JobEvent:
    return JobEvent(
        seq=seq,
        index=0,
        job_id=job_id,
        tenant=tenant,
        fact=fact,
        attempt=1,
        at_ms=NOW_MS,
        exit_code=0 if fact == "succeeded" else None,
        log_bytes={"1.0.stdout": 6} if fact == "succeeded" else None,
    )


def _stored_facts() -> list[StoredMessage]:
    told = [(ENDED, "queued"), (ENDED, "running"), (ENDED, "succeeded"), (LIVE, "queued")]
    return [
        StoredMessage(
            f"penstock.v1.job.{TENANT}.{job_id}.{fact}",
            encode(event_of(TENANT, job_id, fact, seq)),
            seq,
            1,
        )
        for seq, (job_id, fact) in enumerate(told, 1)
    ]


_STREAMS = {
    "FACTS": _stored_facts(),
    "LOGS": [
        StoredMessage(
            f"penstock.v1.log.{TENANT}.{ENDED}.1.0.stdout",
            b"hello\n",
            1,
            1,
            {"Penstock-Offset": "0"},
        )
    ],
}
VALUES: dict[str, Any] = {
    "query_scheduler_job": a_view(job_id=ENDED, tenant=TENANT),
    "query_metering_job": a_view(job_id=ENDED, tenant=TENANT),
    "query_scheduler_jobs": JobsView((a_view(job_id=LIVE),)),
    "query_metering_jobs": JobsView((a_view(job_id=ENDED),)),
    "query_scheduler_explain": Explanation(
        job_id=LIVE, state="queued", code="waiting_behind", sentence="waiting"
    ),
    "query_scheduler_nodes": NodesUseView(4, (a_node_use(),)),
    "query_inventory_nodes": NodesView(4, (a_node_view(),)),
    "query_inventory_node": a_node_view(),
    "query_scheduler_audit": a_scheduler_audit(),
    "query_inventory_audit": an_inventory_audit(),
    "query_metering_audit": a_metering_audit(),
    "query_metering_usage": UsageView((), None, None),
    "query_metering_bills": BillsView(month="2026-11", now_ms=1, bills=(a_bill(),)),
    "query_metering_job_account": JobAccount(
        job_id=ENDED, tenant=TENANT, state="succeeded", leases=(), rated=(), shares=()
    ),
    "node_command": a_node_view(),
    "query_scheduler_queue": QueueView(seq=4, version=1, pools=()),
    "query_scheduler_policy": PolicyVersion(1, QueuePolicy()),
    "command_scheduler_set_policy": PolicyVersion(2, QueuePolicy()),
}
