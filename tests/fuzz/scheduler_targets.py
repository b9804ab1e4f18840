"""What do requests, reports and node facts of any kind do to the scheduler?

The real decoders in front of the real core, with the runtime's own packing of facts into entries.
Also demanded: every entry can be read back and is small enough for the broker, as is every public
message and every order that follows; the audit finds nothing. It does not know the bus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fuzz.mutation import Given
from fuzz.runner import Violation, check_refusal, check_size
from fuzz.scheduler_world import BOOT, LABELS, NEXT_SEQ, NOW_MS, restored, steps, world
from penstock_bus.port import StoredMessage
from penstock_bus.wire import check_subject, encode_headers
from penstock_contracts.asks import Alternative
from penstock_contracts.ids import ROOT, is_token, ulid
from penstock_contracts.jobs import CancelJob, JobSpec
from penstock_contracts.journal import CancelRequested, JobFact, JobSubmitted, RequestRefused
from penstock_contracts.leases import Described, NodeDesired, NodeReport
from penstock_contracts.nodes import (
    NodeCordoned,
    NodeFact,
    NodeFenced,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
)
from penstock_runtime.entries import Committed, encode_entry, entry_decoder
from penstock_runtime.transition import Draft, Transition
from penstock_scheduler import inputs
from penstock_scheduler.core.events import NodeReported
from penstock_scheduler.core.orders.desired import changes_of
from penstock_scheduler.core.telling.views import findings
from penstock_scheduler.public_facts import public_messages
from scheduler.driver import a_node

encode = msgspec.json.encode
NOW_NS = NOW_MS * 1_000_000
_decode = entry_decoder(JobFact)


class SchedulerTarget:
    """What the three inputs of the scheduler have in common."""

    name = ""
    messages: tuple[str, ...] = ()
    pure = False
    audited = True

    def __init__(self) -> None:
        self.words: Sequence[str | int] = world().words
        self.reset()

    def reset(self) -> None:
        self.core = restored()
        self.seq = NEXT_SEQ

    def digest(self) -> object:
        return self.core.snapshot()

    def valid(self) -> Sequence[Given]:
        raise NotImplementedError

    def give(self, given: Given) -> bool:
        message = StoredMessage(given.subject, given.payload, self.seq, NOW_NS)
        facts = self.commit(self.decoded(message))
        return self.judged(facts)

    def decoded(self, message: StoredMessage) -> Sequence[object]:
        raise NotImplementedError

    def judged(self, facts: Sequence[Any]) -> bool:
        """Whether the input was taken. Checks the refusals."""
        taken = False
        for fact in facts:
            if isinstance(fact, RequestRefused):
                for item in fact.items:
                    check_refusal(item.refusal)
            else:
                taken = True
        return taken

    def commit(self, events: Sequence[object]) -> list[Any]:
        """Decide and apply as the runtime does; every fact that followed."""
        state = self.core.state
        transition = Transition(self.core, now_ns=NOW_NS, next_seq=self.seq, cursors={}, marks={})
        for event in events:
            transition.take(event)
        transition.settle()
        transition.close()
        facts = [fact for draft in transition.drafts for fact in draft.facts]
        for draft in transition.drafts:
            self._check_entry(draft)
            self.seq += 1
        for node, keys in state.touches.take().items():
            orders, dropped = changes_of(state, node, keys)
            check_size("an order", encode(NodeDesired(as_of=1, leases=orders, dropped=dropped)))
        if self.audited and facts and (found := findings(state)):
            raise Violation(f"the audit finds {found}")
        return facts

    def _check_entry(self, draft: Draft) -> None:
        payload = encode_entry(
            term=1, writer="w", entry_id="e", now_ns=NOW_NS, cursors={}, facts=draft.encoded
        )
        check_size("an entry", payload)
        entry = _decode(StoredMessage("penstock.v1.journal.jobs", payload, self.seq, NOW_NS))
        if entry is None or list(entry.facts) != draft.facts:
            raise Violation("the entry does not say what was decided")
        _check_public(entry)


def _check_public(entry: Committed) -> None:
    for _, subject, payload, headers in public_messages(entry):
        check_subject(subject)
        if len(subject.split(".")) not in (5, 6):
            raise Violation(f"{subject} has another number of tokens")
        check_size(subject, payload + encode_headers(headers))


class Requests(SchedulerTarget):
    name = "scheduler requests"
    messages = ("submit_job", "cancel_job")

    def valid(self) -> Sequence[Given]:
        submit, cancel = f"{ROOT}.request.job.acme.submit", f"{ROOT}.request.job.acme.cancel"
        specs = [
            JobSpec(
                job_id=ulid(NOW_MS, 900 + number),
                command=("python", "train.py"),
                env={"A": "b"},
                labels={"team": "x"},
                **{"gpu_models": ("H100",), **fields},
            )
            for number, fields in enumerate(_SHAPES)
        ]
        known = [word for word in self.words if isinstance(word, str) and len(word) == 26]
        return [
            *(Given(submit, encode(spec)) for spec in specs),
            Given(submit, encode({"jobs": specs[:3]})),
            Given(submit, encode({"jobs": [{"job_id": known[0], "command": ["true"]}]})),
            *(Given(cancel, encode(CancelJob(job_id, "enough"))) for job_id in known[:10]),
        ]

    def decoded(self, message: StoredMessage) -> Sequence[object]:
        events = inputs.decode_request(message)
        if len(events) != 1:
            raise Violation("a request is not one event")
        return events

    def give(self, given: Given) -> bool:
        """Besides: a tenant makes and ends jobs of its own only."""
        tenant = given.subject.split(".")[-2]
        owners = {job_id: job.tenant for job_id, job in self.core.state.jobs.items()}
        message = StoredMessage(given.subject, given.payload, self.seq, NOW_NS)
        facts = self.commit(self.decoded(message))
        for fact in facts:
            if isinstance(fact, JobSubmitted) and not (is_token(tenant) and fact.tenant == tenant):
                raise Violation(f"{tenant!r} makes a job of {fact.tenant!r}")
            if isinstance(fact, CancelRequested) and owners[fact.job_id] != tenant:
                raise Violation(f"{tenant!r} ends a job of {owners[fact.job_id]!r}")
        return self.judged(facts)


_SHARE = Alternative(gpus=1, gpu_milli=500, gpu_models=("A100",), speed_milli=700)
_SHAPES: tuple[dict[str, Any], ...] = (
    {"gpus": 1, "time_limit_s": 60, "cpu_milli": 100, "memory_mib": 64},
    {"gpus": 1, "gpu_milli": 500, "gpu_memory_mib": 1024, "priority": 9},
    {"ranks": 2, "gpus": 1, "retries": 3, "grace_s": 5, "disconnect_s": 30},
    {"gpus": 0, "name": "x"},
    {"gpus": 2, "alternatives": (_SHARE, Alternative(gpus=4, cpu_milli=9)), "apart": "db"},
    {"ranks": 2, "gpus": 1, "near": "link", "near_required": True, "gpu_models": ()},
    {"ranks": 3, "near": "site", "spread": "rack", "spread_ranks": 2, "node_labels": LABELS},
)


class Reports(SchedulerTarget):
    """Besides: an item that is not about the present holder changes nothing."""

    name = "scheduler reports"
    messages = ("node_report",)

    def valid(self) -> Sequence[Given]:
        found = []
        for lease in world().leases:
            subject = f"{ROOT}.node.{lease.node}.report"
            items = steps(lease)
            reports = [NodeReport(lease.node, BOOT, (item,)) for item in items]
            reports.append(NodeReport(lease.node, BOOT, (items[0], items[2], items[3], items[6])))
            found += [Given(subject, encode(report)) for report in reports]
        described = NodeReport("n1", BOOT, (Described(a_node("n1")),))
        return [*found, Given(f"{ROOT}.node.n1.report", encode(described))]

    def decoded(self, message: StoredMessage) -> Sequence[object]:
        node = message.subject.split(".")[-2]
        events = inputs.decode_report(message)
        for event in events:
            if isinstance(event, NodeReported) and event.node != node:
                raise Violation(f"a report of {node} counts for {event.node}")
        return events

    def give(self, given: Given) -> bool:
        message = StoredMessage(given.subject, given.payload, self.seq, NOW_NS)
        taken = False
        for event in self.decoded(message):
            holds = self._is_of_the_holder(event)
            facts = self.commit((event,))
            if facts and not holds:
                raise Violation(f"{event} is of no present holder, and led to {facts}")
            taken |= bool(facts)
        return taken

    def _is_of_the_holder(self, event: object) -> bool:
        item = getattr(event, "item", None)
        return any(
            (lease.job_id, lease.attempt, lease.rank) == (item.job_id, item.attempt, item.rank)
            and lease.lease_seq == item.lease_seq
            and lease.node == getattr(event, "node", None)
            for lease in self.core.state.leases.values()
            if item is not None and hasattr(item, "lease_seq")
        )


class NodeEntries(SchedulerTarget):
    """Entries of NODES, whole and damaged. Inventory has refused what would contradict itself (two
    devices of one UUID), so that of a damaged entry only the process must not die."""

    name = "scheduler node facts"
    messages = ("nodes_journal",)
    audited = False

    def valid(self) -> Sequence[Given]:
        facts: list[NodeFact] = [
            NodeRegistered(a_node("n1", 8)),
            NodeRegistered(a_node("n2", 2, boot_id="boot-2")),
            NodeRegistered(a_node("n4", 2)),
            NodeLivenessChanged("n1", "lost", "silent for 10 s"),
            NodeCordoned("n1", True, NOW_NS + 5, "disk swap"),
            NodeUncordoned("n3"),
            NodeFenced("n1", BOOT, "pulled"),
            NodeRemoved("n2"),
        ]
        entry = {"term": 1, "writer": "w", "entry_id": "e", "now_ns": NOW_NS, "cursors": {"X": 1}}
        subject = f"{ROOT}.journal.nodes"
        return [
            *(Given(subject, encode({**entry, "facts": [fact]})) for fact in facts),
            Given(subject, encode({**entry, "facts": facts})),
        ]

    def decoded(self, message: StoredMessage) -> Sequence[object]:
        return inputs.decode_nodes(message)
