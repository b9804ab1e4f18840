"""What do the bytes that reach the scheduler mean?

Decodes requests, reports and node facts into the core's events. Nothing here raises: bytes that
make no sense become a refusal for the requester, or are counted and dropped when no requester
waits. The tenant and the node come from the subject, so from the credential. It does not decide
anything.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from penstock_bus.port import StoredMessage
from penstock_contracts.budgets import BudgetFact
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.jobs import CancelJob, JobSpec, SubmitJobs
from penstock_contracts.journal import RefusedItem
from penstock_contracts.leases import NodeReport
from penstock_contracts.nodes import NodeFact
from penstock_scheduler.core.events import (
    BudgetHeard,
    CancelAsked,
    JobsRequested,
    NodeChanged,
    NodeReported,
    RequestBroken,
)

log = logging.getLogger(__name__)

counters: Counter[str] = Counter()
_PATH = re.compile(r" - at `\$\.?([^`]*)`")


BACKLOG_FULL = Refusal("backlog_full", "the mesh's streams are nearly full; submit again later")


class _NodesEntry(msgspec.Struct):
    facts: list[NodeFact]


_job = msgspec.json.Decoder(JobSpec)
_jobs = msgspec.json.Decoder(SubmitJobs)
_cancel = msgspec.json.Decoder(CancelJob)
_report = msgspec.json.Decoder(NodeReport)
_nodes = msgspec.json.Decoder(_NodesEntry)
_budget = msgspec.json.Decoder(BudgetFact)


def decode_request(
    message: StoredMessage, *, backlog_full: bool = False, wall_ms: int | None = None
) -> Sequence[object]:
    """Events of one message of REQUESTS: exactly one. While the backlog is full, submits are
    refused and cancels still heard.
    """
    tenant, verb = message.subject.split(".")[-2:]
    try:
        if verb == "submit" and backlog_full:
            return (RequestBroken(tenant, message.seq, BACKLOG_FULL),)
        if verb == "submit":
            return (JobsRequested(tenant, message.seq, _items(message.payload), wall_ms),)
        if verb == "cancel":
            asked = _cancel.decode(message.payload)
            return (CancelAsked(tenant, message.seq, asked.job_id, asked.reason),)
    except MALFORMED as error:
        return (RequestBroken(tenant, message.seq, refusal_of(error, "")),)
    refusal = Refusal("unknown_verb", f"no verb {verb[:40]!r}; there are submit and cancel")
    return (RequestBroken(tenant, message.seq, refusal),)


def _items(payload: bytes) -> tuple[JobSpec | RefusedItem, ...]:
    """The jobs of a submit, each by itself. Raises a decode error when there is no telling them
    apart.
    """
    if b'"jobs"' in payload:
        try:
            raw = _jobs.decode(payload).jobs
        except msgspec.ValidationError:
            if b'"job_id"' not in payload:
                raise
        else:
            return tuple(_item(index, part) for index, part in enumerate(raw))
    return (_item(0, payload, prefix=""),)


def _item(
    index: int, payload: msgspec.Raw | bytes, prefix: str | None = None
) -> JobSpec | RefusedItem:
    where = f"jobs[{index}]." if prefix is None else prefix
    try:
        spec = _job.decode(payload)
    except MALFORMED as error:
        return RefusedItem(index, refusal_of(error, where))
    fault = spec.fault()
    if fault is None:
        return spec
    code, sentence, field = fault
    return RefusedItem(index, Refusal(code, sentence, where + field), spec.job_id[:64])


def refusal_of(error: Exception, prefix: str) -> Refusal:
    """A refusal a person can act on, from what the decoder found."""
    if not isinstance(error, msgspec.ValidationError):
        return Refusal("malformed_json", f"the payload is not JSON: {error}"[:300])
    text = str(error)
    found = _PATH.search(text)
    field = found.group(1) if found else ""
    sentence = (_PATH.sub("", text) + (f" in {prefix}{field}" if field else ""))[:300]
    return Refusal("invalid_field", sentence, (prefix + field).rstrip("."))


def decode_report(message: StoredMessage) -> Sequence[object]:
    """Events of one message of REPORTS, in order; one that cannot be decoded, or that another node
    wrote, is counted and dropped."""
    node = message.subject.split(".")[-2]
    try:
        report = _report.decode(message.payload)
    except MALFORMED as error:
        return _dropped("reports_undecodable", message.seq, node, str(error))
    if report.node != node:
        return _dropped("reports_of_others", message.seq, node, f"it is {report.node[:63]!r}'s")
    return [NodeReported(node, report.boot_id, item) for item in report.items]


def _dropped(counter: str, seq: int, node: str, why: str) -> tuple[()]:
    counters[counter] += 1
    log.error("report %d of %s dropped: %s", seq, node, why)
    return ()


def decode_nodes(message: StoredMessage) -> Sequence[object]:
    """Events of one entry of the NODES journal."""
    try:
        return [NodeChanged(fact) for fact in _nodes.decode(message.payload).facts]
    except MALFORMED as error:
        counters["node_entries_undecodable"] += 1
        log.error("NODES entry %d skipped: %s", message.seq, error)
        return ()


def decode_budget(message: StoredMessage) -> Sequence[object]:
    """The event of one message of BUDGETS."""
    try:
        return (BudgetHeard(_budget.decode(message.payload)),)
    except MALFORMED as error:
        counters["budget_facts_undecodable"] += 1
        log.error("message %d of BUDGETS skipped: %s", message.seq, error)
        return ()
