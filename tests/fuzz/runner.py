"""How are very many bad inputs given to a target, and what is demanded of it?

For each input: nothing but the declared errors leaves the target; what it refuses leaves its state
as it was, byte for byte, and is answered with a known code and a sentence where somebody waits.
Inputs follow from the seed alone; a failure is shrunk and told with its seed. It does not know what
any target does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fuzz.mutation import Given, Mutator
from penstock_contracts.errors import CODES, Refusal

BLOCK = 100
"""Inputs between two fresh states: what came before the failing input is at most so much."""
AGAIN = 0.08
"""How often an earlier input of the block comes once more."""
ANSWER_BYTES_MAX = 1024 * 1024
"""The broker takes no larger message."""


class Violation(AssertionError):
    """The target did what it must never do."""


class Target(Protocol):
    """Something that takes inputs of others."""

    name: str
    messages: tuple[str, ...]
    """The messages of the registry that this target takes."""
    words: Sequence[str | int]
    pure: bool
    """Nothing given to it may change its state, taken or not."""

    def reset(self) -> None:
        """The prepared state, always the same."""
        ...

    def valid(self) -> Sequence[Given]:
        """Good inputs in that state, from which bad ones are made."""
        ...

    def give(self, given: Given) -> bool:
        """False when it was refused. Raises Violation, or whatever the target wrongly raises."""
        ...

    def digest(self) -> object:
        """All that a refused input must not change."""
        ...


class Tally(NamedTuple):
    target: str
    inputs: int
    accepted: int

    @property
    def refused(self) -> int:
        return self.inputs - self.accepted


class Failure(NamedTuple):
    """`history` came before `given` on the same state."""

    history: tuple[Given, ...]
    given: Given
    error: Exception


def fuzz(target: Target, seed: int, count: int) -> Tally:
    """Give `count` inputs. Raises Violation with the shortest input found that fails."""
    accepted = given_in_all = 0
    while given_in_all < count:
        size = min(BLOCK, count - given_in_all)
        rng = random.Random(seed << 32 | given_in_all)
        found = _block(target, rng, size)
        if isinstance(found, Failure):
            from fuzz.shrinking import shrunk

            raise Violation(_story(target, seed, given_in_all, shrunk(target, found)))
        accepted += found
        given_in_all += size
    return Tally(target.name, given_in_all, accepted)


def _block(target: Target, rng: random.Random, size: int) -> int | Failure:
    target.reset()
    mutator = Mutator(rng, target.words)
    valid = target.valid()
    past: list[Given] = []
    accepted = 0
    digest = target.digest()
    for _ in range(size):
        if past and rng.random() < AGAIN:
            given = rng.choice(past)
        else:
            given = mutator.mutate(rng.choice(valid), valid)
        try:
            taken = give(target, given, digest)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what we look for)
            return Failure(tuple(past), given, error)
        if taken:
            accepted += 1
            digest = target.digest()
        past.append(given)
    return accepted


def give(target: Target, given: Given, digest: object) -> bool:
    """One input with its demand on the state."""
    taken = target.give(given)
    if (target.pure or not taken) and target.digest() != digest:
        raise Violation(f"it was {'taken' if taken else 'refused'}, and changed the state")
    return taken


def replay(target: Target, history: Sequence[Given], given: Given) -> Exception | None:
    """The error of the last input on a fresh state; None when it does not fail, or another does."""
    target.reset()
    try:
        for past in history:
            target.give(past)
    except Exception:  # noqa: BLE001 (not the failure that is looked for)
        return None
    try:
        give(target, given, target.digest())
    except Exception as error:  # noqa: BLE001 (this is)
        return error
    return None


def check_refusal(refusal: Refusal | None) -> None:
    """A refusal has a code of the catalogue and says something."""
    if refusal is None:
        raise Violation("it was refused without a refusal")
    if refusal.code not in CODES:
        raise Violation(f"the code {refusal.code!r} is not in the catalogue")
    if not refusal.message.strip():
        raise Violation(f"the refusal {refusal.code} says nothing")


def check_size(what: str, payload: bytes) -> None:
    """Nothing that follows from an input may be larger than the broker takes."""
    if len(payload) > ANSWER_BYTES_MAX:
        raise Violation(f"{what} has {len(payload)} bytes")


def _story(target: Target, seed: int, index: int, failure: Failure) -> str:
    lines = [
        f"target {target.name}, seed {seed}, block at {index}: "
        f"{type(failure.error).__name__}: {failure.error}",
        *(f"before: {_shown(past)}" for past in failure.history),
        f"input:  {_shown(failure.given)}",
    ]
    return "\n".join(lines)


def _shown(given: Given) -> str:
    payload = given.payload
    text = repr(payload if len(payload) <= 2_000 else payload[:1_000] + b"..." + payload[-200:])
    headers = f" {given.headers!r}" if given.headers else ""
    return f"{given.subject!r}{headers} {text} ({len(payload)} bytes)"
