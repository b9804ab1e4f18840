"""What do orders and questions about the queue of any kind do to the scheduler?

Policies as operators would write them, changed in every way, over a mesh in which work runs and
waits. What is refused changes nothing; what is taken can be obeyed, by the audit too. It does not
know the bus.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fuzz.link_targets import check_answer
from fuzz.mutation import Given
from fuzz.runner import Violation
from fuzz.scheduler_targets import SchedulerTarget
from fuzz.scheduler_world import NEXT_SEQ, NOW_MS
from penstock_bus.port import Message
from penstock_contracts.ids import ROOT, ulid
from penstock_contracts.queue_faults import policy_faults
from penstock_contracts.queue_messages import SetPolicy
from penstock_contracts.queue_policy import QueuePolicy
from penstock_runtime.entries import Committed
from penstock_scheduler.answers import answer_queries
from penstock_scheduler.core.events import PolicyAsked
from penstock_scheduler.obeying import obey_commands
from tests.simulation.policies import draw_policy

COMMAND = f"{ROOT}.command.scheduler.set_policy"
QUERIES = ("policy", "queue")
TENANTS, NODES = ("acme", "other"), ("n1", "n2", "n3")
DRAWN = 14


class Policies(SchedulerTarget):
    """All that the registry lists of the queue."""

    name = "scheduler policies"
    messages = ("command_scheduler_set_policy", *(f"query_scheduler_{what}" for what in QUERIES))
    last_seq = NEXT_SEQ
    cursors: dict[str, int] = {}

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[str, Callable[[Message], Any]] = {}
        self._answers: list[bytes] = []
        self._taken = False
        itself: Any = self
        obey_commands(itself, itself, lambda: self.core.state)
        answer_queries(itself, lambda: self.core, lambda: NOW_MS * 1_000_000)

    # -- what a service and its bus are to the shells around the core
    def listen(self, subject: str, handler: Callable[[Message], Any]) -> None:
        self._handlers[subject] = handler

    answer = listen

    def respond_nowait(self, message: Message, payload: bytes) -> None:
        self._answers.append(payload)

    def submit_nowait(
        self, event: PolicyAsked, on_done: Callable[[Committed | None], None]
    ) -> bool:
        seq, facts = self.seq, self.commit((event,))
        self._taken = bool(facts)
        if facts and (faults := policy_faults(event.asked.policy)):
            raise Violation(f"a policy was taken that has {faults}")
        entry = Committed(
            seq=seq, term=1, writer="w", entry_id="e", now_ns=0, cursors={}, facts=tuple(facts)
        )
        on_done(entry if facts else None)
        return True

    # -- what is given
    def valid(self) -> Sequence[Given]:
        policies = [
            draw_policy(random.Random(number), TENANTS, NODES, NOW_MS) for number in range(DRAWN)
        ]
        orders = [
            SetPolicy(ulid(NOW_MS, 300 + number), policy, based_on=None if number % 3 else 0)
            for number, policy in enumerate((QueuePolicy(), *policies))
        ]
        asked = [Given(f"{ROOT}.query.scheduler.{what}", b"{}") for what in QUERIES]
        return [*(Given(COMMAND, msgspec.json.encode(order)) for order in orders), *asked]

    def give(self, given: Given) -> bool:
        handler = self._handlers.get(given.subject)
        what = given.subject.removeprefix(f"{ROOT}.").replace(".", "_")
        if handler is None or what not in self.messages:
            return False
        message = Message(given.subject, given.payload, "_INBOX.x")
        if given.subject != COMMAND:
            check_answer(what, handler(message))
            return False
        self._answers.clear()
        self._taken = False
        handler(message)
        if len(self._answers) != 1:
            raise Violation(f"an order was answered {len(self._answers)} times")
        if not check_answer(what, self._answers[0]) and self._taken:
            raise Violation("an order was refused and obeyed")
        return self._taken
