"""What does the scheduler do when an operator orders it?

Sets the queue's policy, and answers once that is committed. It does not know which policies may be
set.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock_bus.port import Bus, Message
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.queries import Answer
from penstock_contracts.queue_messages import SetPolicy
from penstock_contracts.queue_policy import PolicyVersion
from penstock_runtime.journaled import Committed, JournaledService
from penstock_scheduler.core.events import PolicyAsked
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.setting import is_repeated, refusal_of
from penstock_scheduler.inputs import refusal_of as refusal_of_bytes

_decode = msgspec.json.Decoder(SetPolicy).decode
_encode = msgspec.json.Encoder().encode
_UNAVAILABLE = Refusal("unavailable", "the scheduler takes no orders now; try again")


def obey_commands(service: JournaledService, bus: Bus, state: Callable[[], State]) -> None:
    """Hears every command of the registry that is the scheduler's."""

    def set_policy(message: Message) -> None:
        try:
            asked = _decode(message.payload)
        except MALFORMED as error:
            bus.respond_nowait(message, _refused(refusal_of_bytes(error, "")))
            return

        def answer(entry: Committed | None) -> None:
            bus.respond_nowait(message, _outcome(state(), asked, entry))

        if not service.submit_nowait(PolicyAsked(asked), answer):
            bus.respond_nowait(message, _refused(_UNAVAILABLE))

    service.listen(f"{ROOT}.command.scheduler.set_policy", set_policy)


def _outcome(state: State, asked: SetPolicy, entry: Committed | None) -> bytes:
    """On committed state; another policy may hold by now."""
    if entry is None and not is_repeated(state, asked):
        return _refused(refusal_of(state, asked) or _UNAVAILABLE)
    return _encode(Answer(value=state.rules.held))


def _refused(refusal: Refusal) -> bytes:
    return _encode(Answer[PolicyVersion](refusal=refusal))
