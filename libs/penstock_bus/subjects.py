"""Which subjects does a pattern cover?

The broker's rule for `*` (one token) and `>` (one or more, at the end), for the in-memory twin. It
does not know which tokens are allowed in names of ours (`penstock_contracts`)."""

from __future__ import annotations

import functools

TOKENS_CACHED = 65_536
MATCHES_CACHED = 262_144


@functools.lru_cache(maxsize=TOKENS_CACHED)
def _tokens(subject: str) -> tuple[str, ...]:
    return tuple(subject.split("."))


def is_pattern(subject: str) -> bool:
    return "*" in subject or ">" in subject


@functools.lru_cache(maxsize=MATCHES_CACHED)
def matches(pattern: str, subject: str) -> bool:
    """Does the pattern cover this plain subject?"""
    if pattern == subject:
        return True
    wanted, given = _tokens(pattern), _tokens(subject)
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def overlap(one: str, other: str) -> bool:
    """Is there a subject that both patterns cover?"""
    left, right = _tokens(one), _tokens(other)
    for a, b in zip(left, right, strict=False):
        if a == ">" or b == ">":
            return True
        if a != b and a != "*" and b != "*":
            return False
    return len(left) == len(right)
