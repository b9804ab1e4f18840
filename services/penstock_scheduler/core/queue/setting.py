"""May this policy be set?

What breaks a rule is refused with the first fault; what was made from a policy that no longer holds
is refused too. It does not know how commands travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.errors import Refusal
from penstock_contracts.journal import JobFact
from penstock_contracts.queue_facts import PolicySet
from penstock_contracts.queue_faults import policy_faults
from penstock_contracts.queue_messages import SetPolicy

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def decide_policy(state: State, asked: SetPolicy, now_ns: int) -> list[JobFact]:
    """The policy as the next version; nothing for what is refused or was set by that key."""
    if is_repeated(state, asked) or refusal_of(state, asked) is not None:
        return []
    version = state.rules.version + 1
    return [PolicySet(version, asked.policy, asked.key, now_ns // 1_000_000)]


def is_repeated(state: State, asked: SetPolicy) -> bool:
    """Whether that command was obeyed before."""
    return asked.key in state.rules.keys


def refusal_of(state: State, asked: SetPolicy) -> Refusal | None:
    """Why it cannot be set; None = it can. Changes nothing."""
    if asked.based_on is not None and asked.based_on != state.rules.version:
        sentence = (
            f"it was made from version {asked.based_on}, and version {state.rules.version} holds"
        )
        return Refusal("policy_changed", sentence, "based_on")
    labels = {name: node.image.labels for name, node in state.nodes.items()}
    faults = policy_faults(asked.policy, labels)
    if not faults:
        return None
    return Refusal(faults[0].code, faults[0].sentence, faults[0].path)
