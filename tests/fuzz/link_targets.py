"""What do heartbeats, answers to orders, and questions of any kind do to the scheduler?

The links to nodes and the handlers of queries, with a bus that only takes note. None of it may
change the state; every answer is one of the documented type, or a refusal. It does not know
requests or reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fuzz.mutation import Given
from fuzz.runner import Violation, check_refusal, check_size
from fuzz.scheduler_world import BOOT, NEXT_SEQ, NOW_MS, restored, world
from penstock_bus.port import Message, Outage
from penstock_contracts.depot import LeaseQuery
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import DesiredAck, LeaseRenewal, NodeDesired, lease_digest
from penstock_contracts.nodes import Heartbeat
from penstock_contracts.queries import Answer, JobQuery, JobsQuery, NodesQuery
from penstock_contracts.registry import BY_NAME
from penstock_scheduler.answers import answer_queries
from penstock_scheduler.core.orders.desired import orders_of
from penstock_scheduler.node_links import NodeLinks

encode = msgspec.json.encode
DESIRED = msgspec.json.Decoder(NodeDesired)
RENEWAL = msgspec.json.Decoder(LeaseRenewal)


class NotingBus:
    """Keeps what is sent, and who waits for an answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Callable[[Message | Exception], None]]] = []

    def publish_nowait(self, subject: str, payload: bytes, headers: object = None) -> None:
        if not subject.endswith(".renewal"):
            raise Violation(f"the links publish {subject}")
        RENEWAL.decode(payload)

    def request_nowait(
        self,
        subject: str,
        payload: bytes,
        on_done: Callable[[Message | Exception], None],
        *,
        timeout_s: float,
    ) -> None:
        check_size(subject, payload)
        DESIRED.decode(payload)
        self.asked.append((subject, on_done))


class Heartbeats:
    """Heartbeats, and what nodes answer to orders (given on the order's subject)."""

    name = "scheduler heartbeats"
    messages = ("node_heartbeat", "node_desired", "node_renewal")
    pure = True

    def __init__(self) -> None:
        self.words: Sequence[str | int] = world().words
        self.core = restored()
        self._state = self.core.state
        self.reset()

    def reset(self) -> None:
        self.bus: Any = NotingBus()
        self.links = NodeLinks(
            self.bus,
            state=lambda: self._state,
            seq=lambda: NEXT_SEQ,
            now_ns=lambda: NOW_MS * 1_000_000,
            nudge=lambda: None,
            ahead=lambda seq: None,
        )
        self.links.reset()

    def digest(self) -> object:
        return self.core.snapshot()

    def valid(self) -> Sequence[Given]:
        found = []
        for node in ("n1", "n2", "n3"):
            digest = lease_digest(orders_of(self._state, node))
            beat = Heartbeat(
                node=node, boot_id=BOOT, sent_boot_ns=9, as_of=NEXT_SEQ, digest=digest, running=1
            )
            found.append(Given(f"{ROOT}.node.{node}.heartbeat", encode(beat)))
            for ack in (DesiredAck(NEXT_SEQ), DesiredAck(0, False)):
                found.append(Given(f"{ROOT}.node.{node}.desired", encode(ack)))
        return found

    def give(self, given: Given) -> bool:
        message = Message(given.subject, given.payload)
        counted = self.links.counters.total()
        if given.subject.endswith(".desired"):
            waiting, self.bus.asked = self.bus.asked, []
            for subject, on_done in waiting:
                mine = subject == given.subject
                on_done(message if mine else Outage("no answer"))
        elif given.subject.endswith(".heartbeat") and given.subject.count(".") == 4:
            self.links.hear(message)
        self.links.judge()
        if self.links.contact_ns.keys() - self._state.nodes.keys():
            raise Violation("a stranger is remembered")
        return self.links.counters.total() == counted


class _Questions:
    """What `answer_queries` wants of a service."""

    last_seq = NEXT_SEQ
    cursors: dict[str, int] = {}

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[Message], bytes]] = {}

    def answer(self, subject: str, handler: Callable[[Message], bytes]) -> None:
        self.handlers[subject] = handler


def check_answer(name: str, payload: bytes) -> bool:
    """Whether a query of the registry was answered; False when it was properly refused."""
    check_size(f"the answer to {name}", payload)
    answer = msgspec.json.decode(payload, type=BY_NAME[name].answer)
    if not isinstance(answer, Answer):
        raise Violation(f"{name} has no answer type")
    if answer.value is None:
        check_refusal(answer.refusal)
    return answer.value is not None


class Questions:
    name = "scheduler queries"
    messages = tuple(
        f"query_scheduler_{what}" for what in ("job", "explain", "jobs", "nodes", "lease", "audit")
    )
    pure = True

    def __init__(self) -> None:
        self.words: Sequence[str | int] = world().words
        self.core = restored()
        service: Any = _Questions()
        answer_queries(service, lambda: self.core, lambda: 0)
        self._handlers: dict[str, Callable[[Message], bytes]] = service.handlers

    def reset(self) -> None:
        """Asking changes nothing."""

    def digest(self) -> object:
        return self.core.snapshot()

    def valid(self) -> Sequence[Given]:
        job_id = str(self.words[0])
        asked = {
            "job": JobQuery(job_id),
            "explain": JobQuery(job_id),
            "jobs": JobsQuery("acme", "running", 10, job_id),
            "nodes": NodesQuery("n1"),
            "lease": self._held(),
            "audit": {},
        }
        return [
            Given(f"{ROOT}.query.scheduler.{what}", encode(query)) for what, query in asked.items()
        ]

    def _held(self) -> LeaseQuery:
        lease = next(iter(self.core.state.leases.values()))
        return LeaseQuery(
            node=lease.node,
            lease_seq=lease.lease_seq,
            job_id=lease.job_id,
            attempt=lease.attempt,
            rank=lease.rank,
        )

    def give(self, given: Given) -> bool:
        handler = self._handlers.get(given.subject)
        if handler is None:
            return False  # nobody listens there
        payload = handler(Message(given.subject, given.payload, "_INBOX.x"))
        return check_answer(given.subject.removeprefix(f"{ROOT}.").replace(".", "_"), payload)
