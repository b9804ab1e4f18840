"""What happened to this job, or on this device?

Gathers everything a history knows of it into readable lines in the order of time: what was asked,
journalled, ordered, run, billed and told. It does not say what was wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tests.checkers.history import History, Violation
from tests.checkers.leases import fold_journal

LINES_MAX = 200
"""The end of a longer story is what matters."""
TEXT_MAX = 300

Line = tuple[int, str]
"""(world time, sentence)."""

_encode = msgspec.json.Encoder().encode


def story_of(history: History, violation: Violation) -> list[str]:
    """The story of the job concerned, else of the device or node, else of the last entries."""
    if violation.job_id is not None:
        return job_story(history, violation.job_id)
    if violation.node is not None:
        return node_story(history, violation.node, violation.device)
    return _in_order(_faults(history, None), history)


def job_story(history: History, job_id: str) -> list[str]:
    """Everything about one job and its attempts, and the faults of the nodes it was on."""
    journaled = fold_journal(history)
    own = [lease for lease in journaled.leases.values() if lease.job_id == job_id]
    keys = {f"{lease.lease_seq}/{job_id}/{lease.rank}" for lease in own}
    seqs = {lease.lease_seq for lease in own}
    nodes = {lease.node for lease in own} | {r.node for r in history.runs if r.job_id == job_id}
    lines = [*_asked(history, job_id), *_journalled(history, job_id.encode())]
    lines += _ordered(history, keys)
    lines += [line for line in _ran(history, None, None) if job_id in line[1]]
    lines += _billed(history, seqs, job_id)
    for node in sorted(nodes):
        lines += _faults(history, node)
    return _in_order(lines, history)


def node_story(history: History, node: str, device: str | None) -> list[str]:
    """Everything that ran on a node (or on one device of it), what it was told, and its faults."""
    lines = [*_ran(history, node, device), *_faults(history, node)]
    lines += _journalled(history, (device or node).encode())
    for lease in fold_journal(history).leases.values():
        if lease.node == node and (device is None or device in lease.devices):
            name = f"lease {lease.lease_seq} of {lease.job_id}/{lease.attempt}/{lease.rank}"
            if lease.released_ns is not None:
                lines.append((lease.released_ns, f"{name} released ({lease.evidence})"))
    return _in_order(lines, history)


def _in_order(lines: list[Line] | Iterator[Line], history: History) -> list[str]:
    began_ns = min((seen.at_ns for seen in history.jobs_entries), default=0)
    ordered = sorted(lines, key=lambda line: line[0])[-LINES_MAX:]
    return [f"{(at_ns - began_ns) / 1e9:12.6f} s  {text[:TEXT_MAX]}" for at_ns, text in ordered]


def _asked(history: History, job_id: str) -> Iterator[Line]:
    for asked in history.submissions:
        if asked.job_id == job_id:
            seq = "unacknowledged" if asked.request_seq is None else f"REQUESTS {asked.request_seq}"
            yield asked.at_ns, f"{asked.tenant} submits it: {seq}"
    for cancel in history.cancels:
        if cancel.job_id == job_id:
            yield cancel.at_ns, f"{cancel.tenant} cancels it: REQUESTS {cancel.request_seq}"


def _journalled(history: History, needle: bytes) -> Iterator[Line]:
    for stream, entries in (("JOBS", history.jobs_entries), ("NODES", history.nodes_entries)):
        for seen in entries:
            for fact in seen.entry.facts:
                text = _encode(fact)
                if needle in text:
                    yield (
                        seen.at_ns,
                        f"{stream} {seen.entry.seq} (term {seen.entry.term}): " + (text.decode()),
                    )


def _ordered(history: History, keys: set[str]) -> Iterator[Line]:
    for order in history.orders:
        own = sorted(keys & {*order.keys, *order.dropped})
        if own or (order.full and keys):
            answer = {True: "taken", False: "refused", None: "unanswered"}[order.accepted]
            what = "everything" if order.full else "changes"
            yield order.at_ns, f"{order.node} gets {what} as of {order.as_of}, {answer}: {own}"


def _ran(history: History, node: str | None, device: str | None) -> Iterator[Line]:
    for run in history.runs:
        if node is not None and run.node != node:
            continue
        if device is not None and device not in run.devices:
            continue
        name = f"{run.job_id}/{run.attempt}/{run.rank} on {run.node} {','.join(run.devices)}"
        yield run.began_ns, f"RUNS {name} in boot {run.boot_id}, lease {run.lease_seq}"
        if run.ended_ns is not None:
            how = f"exit {run.exit_code}" if run.signal is None else f"signal {run.signal}"
            yield run.ended_ns, f"ENDS {name}: {how}, by {run.ended_by}, waited {run.waited}"


def _billed(history: History, seqs: set[int], job_id: str) -> Iterator[Line]:
    granted = {seen.entry.seq: seen for seen in history.jobs_entries if seen.entry.seq in seqs}
    for line in history.ledger:
        grant = granted.get(line.lease_seq)
        if grant is not None and line.job_id == job_id:
            at_ns = grant.at_ns + line.t1_ms * 1_000_000 - grant.entry.now_ns
            span = f"{line.t1_ms - line.t0_ms} ms of {line.device or 'processors'}"
            yield at_ns, f"BILLED lease {line.lease_seq} rank {line.rank} no. {line.seq}: {span}"


def _faults(history: History, node: str | None) -> Iterator[Line]:
    for fault in history.faults:
        if node is None or fault.node in (None, node):
            until = (
                "" if fault.until_ns is None else f" for {(fault.until_ns - fault.at_ns) / 1e9:g} s"
            )
            yield fault.at_ns, f"FAULT {fault.kind} {fault.node or ''}{until} {fault.sentence}"
