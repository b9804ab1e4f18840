"""What is a planted bug?

One place of the product, what stands there, what a plausible mistake would make of it, and which
promise that breaks. It does not know how it is planted, nor who finds it.
"""

from __future__ import annotations

import msgspec


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """`old` stands exactly once in `file` (relative to the repository). `fast`: found within a few
    seeds, so that every test run can show it."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    fast: bool = False


class Misplaced(Exception):
    """The text that a mutation replaces does not stand exactly once in its file."""


def mutate(text: str, mutation: Mutation) -> str:
    """The file's text with the bug in it. Raises Misplaced."""
    count = text.count(mutation.old)
    if count != 1:
        raise Misplaced(f"{mutation.name}: its text stands {count} times in {mutation.file}")
    return text.replace(mutation.old, mutation.new)
