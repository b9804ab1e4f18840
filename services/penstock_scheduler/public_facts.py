"""Which public facts does a journal entry hold?

Maps the journal's own facts to what tenants see, with CloudEvents headers. The place of each in
the entry is its index: stable, so that a repeat is recognised. It does not know how they are
published.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from penstock_contracts import journal
from penstock_contracts.ids import ROOT, is_token, traceparent
from penstock_contracts.public import JobEvent, RequestRefusal
from penstock_runtime.entries import Committed

_encode = msgspec.json.Encoder().encode
PublicMessage = tuple[int, str, bytes, dict[str, str]]
"""(index, subject, payload, headers)."""
TRACES_KEPT = 4_096
"""A job's facts follow each other closely: its trace context is derived once, not six times."""
PUBLIC_OUTCOMES = frozenset({"preempted", "lost"})


def public_messages(entry: Committed) -> Iterator[PublicMessage]:
    """The public messages of one entry, in order."""
    index = 0
    facts = entry.facts
    for place, fact in enumerate(facts):
        if isinstance(fact, journal.RequestRefused):
            yield _refusal(entry, index, fact)
            index += 1
            continue
        following = facts[place + 1] if place + 1 < len(facts) else None
        for event in _events(fact, following, entry, index):
            yield _message(event)
            index += 1


def _events(fact: object, following: object, entry: Committed, index: int) -> tuple[JobEvent, ...]:
    at_ms = entry.now_ns // 1_000_000
    if isinstance(fact, journal.JobSubmitted):
        spec = fact.spec
        submitted = JobEvent(
            seq=entry.seq,
            index=index,
            job_id=spec.job_id,
            tenant=fact.tenant,
            fact="submitted",
            attempt=1,
            at_ms=at_ms,
            name=spec.name,
        )
        if isinstance(following, journal.JobRejected) and following.job_id == spec.job_id:
            return (submitted,)
        return (submitted, _queued(entry, index + 1, spec.job_id, fact.tenant, 1))
    if isinstance(fact, journal.LeaseGranted):
        nodes = tuple(sorted({placement.node for placement in fact.ranks}))
        return (_event(entry, index, fact, "placed", at_ms, nodes=nodes),)
    if isinstance(fact, journal.AttemptPreparing):
        return (_event(entry, index, fact, "preparing", fact.at_ms),)
    if isinstance(fact, journal.AttemptRunning):
        return (_event(entry, index, fact, "running", fact.at_ms),)
    if isinstance(fact, journal.JobFinished):
        return _finished(entry, index, fact, at_ms)
    if isinstance(fact, journal.AttemptEnded):
        queued = fact.attempt + 1
        if fact.outcome not in PUBLIC_OUTCOMES:
            return (_queued(entry, index, fact.job_id, fact.tenant, queued, fact.reason),)
        return (
            _event(
                entry, index, fact, fact.outcome, at_ms, reason=fact.reason, message=fact.message
            ),
            _queued(entry, index + 1, fact.job_id, fact.tenant, queued, fact.reason),
        )
    if isinstance(fact, journal.JobRejected):
        return (
            JobEvent(
                seq=entry.seq,
                index=index,
                job_id=fact.job_id,
                tenant=fact.tenant,
                fact="rejected",
                attempt=1,
                at_ms=at_ms,
                reason=fact.refusal.code,
                message=fact.refusal.message,
            ),
        )
    return ()


def _finished(
    entry: Committed, index: int, fact: journal.JobFinished, at_ms: int
) -> tuple[JobEvent, ...]:
    lost: tuple[JobEvent, ...] = ()
    if fact.lost_before:
        lost = (_event(entry, index, fact, "lost", at_ms, reason=fact.reason),)
    finished = JobEvent(
        seq=entry.seq,
        index=index + len(lost),
        job_id=fact.job_id,
        tenant=fact.tenant,
        fact=fact.state,
        attempt=fact.attempt,
        at_ms=at_ms,
        exit_code=fact.exit_code,
        signal=fact.signal,
        reason=fact.reason,
        message=fact.message,
        log_bytes=fact.log_bytes,
    )
    return (*lost, finished)


def _event(
    entry: Committed,
    index: int,
    fact: journal.LeaseGranted
    | journal.AttemptPreparing
    | journal.AttemptRunning
    | journal.AttemptEnded
    | journal.JobFinished,
    name: str,
    at_ms: int,
    *,
    nodes: tuple[str, ...] = (),
    reason: str = "",
    message: str = "",
) -> JobEvent:
    return JobEvent(
        seq=entry.seq,
        index=index,
        job_id=fact.job_id,
        tenant=fact.tenant,
        fact=name,
        attempt=fact.attempt,
        at_ms=at_ms,
        nodes=nodes,
        reason=reason,
        message=message,
    )


def _queued(
    entry: Committed, index: int, job_id: str, tenant: str, attempt: int, reason: str = ""
) -> JobEvent:
    return JobEvent(
        seq=entry.seq,
        index=index,
        job_id=job_id,
        tenant=tenant,
        fact="queued",
        attempt=attempt,
        at_ms=entry.now_ns // 1_000_000,
        reason=reason,
    )


def _message(event: JobEvent) -> PublicMessage:
    headers = {
        "ce-id": f"{event.seq}.{event.index}",
        "ce-type": f"penstock.job.{event.fact}",
        "ce-source": "penstock/scheduler",
        "ce-specversion": "1.0",
        "traceparent": _trace_of(event.job_id),
    }
    subject = f"{ROOT}.job.{event.tenant}.{event.job_id}.{event.fact}"
    return (event.index, subject, _encode(event), headers)


@lru_cache(maxsize=TRACES_KEPT)
def _trace_of(job_id: str) -> str:
    return traceparent(job_id, 0, "job")


def _refusal(entry: Committed, index: int, fact: journal.RequestRefused) -> PublicMessage:
    refusal = RequestRefusal(
        seq=entry.seq,
        index=index,
        tenant=fact.tenant,
        request_seq=fact.request_seq,
        refused=fact.items,
    )
    tenant = fact.tenant if is_token(fact.tenant) else "-"
    headers = {
        "ce-id": f"{entry.seq}.{index}",
        "ce-type": "penstock.request.refused",
        "ce-source": "penstock/scheduler",
        "ce-specversion": "1.0",
    }
    subject = f"{ROOT}.refusal.{tenant}.{fact.request_seq}"
    return (index, subject, _encode(refusal), headers)
