"""Does the world outside hear of each step once, in order, and of nothing else?

Lays FACTS beside the journal, and each job's public facts beside the table of a job's life. It does
not know how facts are published.
"""

from __future__ import annotations

from collections import Counter

from penstock_contracts.ids import ROOT, is_token
from penstock_contracts.jobs import QUEUED, TERMINAL, TRANSITIONS
from penstock_contracts.journal import (
    AttemptEnded,
    AttemptPreparing,
    AttemptRunning,
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    RequestRefused,
)
from penstock_contracts.public import JobEvent, RequestRefusal
from tests.checkers.history import Fact, History, Violation
from tests.checkers.leases import facts_of

TOLD_OUTCOMES = ("preempted", "lost")


def check_public(history: History) -> list[Violation]:
    """Every public fact missing, repeated, out of order, made up, or against the table."""
    found = _in_order(history.facts)
    found += _lives(history.facts)
    if history.ending is not None and not history.lossy_broker:
        found += _beside_journal(history)
    return found


def _in_order(facts: list[Fact]) -> list[Violation]:
    found = []
    last = (0, -1)
    for fact in facts:
        event = fact.event
        place = (event.seq, event.index)
        if place <= last:
            sentence = f"FACTS {fact.stream_seq} is of {place}, the one before was of {last}"
            found.append(_of(fact, "fact_out_of_order", sentence))
        last = max(last, place)
        if fact.ce_id != f"{event.seq}.{event.index}":
            sentence = f"FACTS {fact.stream_seq} has ce-id {fact.ce_id}, it is of {place}"
            found.append(_of(fact, "fact_misnamed", sentence))
        if fact.subject != _subject(event):
            sentence = f"FACTS {fact.stream_seq} is on {fact.subject}"
            found.append(_of(fact, "fact_misnamed", sentence))
    return found


def _subject(event: JobEvent | RequestRefusal) -> str:
    if isinstance(event, JobEvent):
        return f"{ROOT}.job.{event.tenant}.{event.job_id}.{event.fact}"
    tenant = event.tenant if is_token(event.tenant) else "-"
    return f"{ROOT}.refusal.{tenant}.{event.request_seq}"


def _lives(facts: list[Fact]) -> list[Violation]:
    """Each job moves along the table, `submitted` first, with at most one terminal fact."""
    state: dict[str, str] = {}
    found = []
    for fact in facts:
        event = fact.event
        if not isinstance(event, JobEvent):
            continue
        before = state.get(event.job_id)
        legal = event.fact == "submitted" if before is None else event.fact in TRANSITIONS[before]
        if not legal:
            sentence = f"job {event.job_id} goes from {before} to {event.fact}"
            code = "ended_twice" if before in TERMINAL else "illegal_transition"
            found.append(_of(fact, code, sentence))
        state[event.job_id] = event.fact
    return found


def _beside_journal(history: History) -> list[Violation]:
    """As many public facts of each kind as the journal's own facts call for."""
    expected: Counter[tuple[str, str]] = Counter()
    for _, _, fact in facts_of(history.jobs_entries):
        for subject, name in _told(fact):
            expected[subject, name] += 1
    told: Counter[tuple[str, str]] = Counter()
    for fact in history.facts:
        event = fact.event
        if isinstance(event, RequestRefusal):
            told[str(event.request_seq), "refused"] += 1
        elif event.fact != QUEUED:  # the table alone says when a job must be queued
            told[event.job_id, event.fact] += 1
    found = []
    for key in sorted(expected.keys() | told.keys()):
        if expected[key] != told[key]:
            code = "fact_missing" if told[key] < expected[key] else "fact_made_up"
            sentence = f"{key[0]} is told {key[1]} {told[key]} times, JOBS says {expected[key]}"
            found.append(Violation(code=code, sentence=sentence, job_id=key[0]))
    return found


def _told(fact: object) -> list[tuple[str, str]]:
    if isinstance(fact, JobSubmitted):
        return [(fact.spec.job_id, "submitted")]
    if isinstance(fact, LeaseGranted):
        return [(fact.job_id, "placed")]
    if isinstance(fact, AttemptPreparing):
        return [(fact.job_id, "preparing")]
    if isinstance(fact, AttemptRunning):
        return [(fact.job_id, "running")]
    if isinstance(fact, JobRejected):
        return [(fact.job_id, "rejected")]
    if isinstance(fact, RequestRefused):
        return [(str(fact.request_seq), "refused")]
    if isinstance(fact, AttemptEnded):
        return [(fact.job_id, fact.outcome)] if fact.outcome in TOLD_OUTCOMES else []
    if isinstance(fact, JobFinished):
        ends = [(fact.job_id, fact.state)]
        return [(fact.job_id, "lost"), *ends] if fact.lost_before else ends
    return []


def _of(fact: Fact, code: str, sentence: str) -> Violation:
    job_id = fact.event.job_id if isinstance(fact.event, JobEvent) else None
    return Violation(code=code, sentence=sentence, job_id=job_id)
