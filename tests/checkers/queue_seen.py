"""What is known of the queue, as far as somebody outside the mesh could see it?

What was ordered of it and what it answered; what copies of the scheduler would do next. It knows no
rule and judges nothing.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.queue_policy import QueuePolicy


class PolicyOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who runs the queue has ordered a policy under a key of his own. `told`: `done`, the
    code of a refusal, or empty when no answer came: it may be set or not. `faulty`: it contradicts
    itself, and he knows it."""

    at_ns: int
    key: str
    policy: QueuePolicy
    told: str
    based_on: int | None = None
    faulty: bool = False


class Lookout(msgspec.Struct, frozen=True, kw_only=True):
    """What each copy of the scheduler would do next, line by line; the one that leads first."""

    at_ns: int
    copies: dict[str, tuple[str, ...]]
