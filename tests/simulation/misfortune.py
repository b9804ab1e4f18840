"""What is a fault, before anybody says which?

What is done to a world, how it is undone, and how likely it is. It does not know any of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import msgspec

from tests.simulation.world import World

T = TypeVar("T")

STEPS_MAX = 3_000
"""A kill strikes before one of the victim's next steps, so at any await."""


class Done(msgspec.Struct):
    """`undo` is called after `lasts_s` at the latest when faults end; None: nothing to undo."""

    sentence: str
    node: str | None = None
    undo: Callable[[], None] | None = None
    lasts_s: float = 0.0


class Kind(msgspec.Struct, frozen=True):
    name: str
    weight: float
    strike: Callable[[World, random.Random], Done | None]


def some(rng: random.Random, things: list[T]) -> T | None:
    return rng.choice(things) if things else None
