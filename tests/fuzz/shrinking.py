"""Which is the shortest input that still fails?

Drops what came before, then fields, items, letters and bytes, as long as the same kind of error
remains. It does not know what the input means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from fuzz.mutation import Given
from fuzz.runner import Failure, Target, replay

TRIES_MAX = 600
_encode = msgspec.json.encode


def shrunk(target: Target, failure: Failure) -> Failure:
    """The shortest failure found within TRIES_MAX replays."""
    tries = 0

    def fails(history: Sequence[Given], given: Given) -> bool:
        nonlocal tries
        tries += 1
        error = replay(target, history, given) if tries <= TRIES_MAX else None
        return error is not None and type(error) is type(failure.error)

    history, given = list(failure.history), failure.given
    if fails((), given):
        history = []
    elif not fails(history, given):
        return failure  # it needs more than a block's past; told as it is
    _drop(history, lambda shorter: fails(shorter, given))
    payload = _smaller(given.payload, lambda less: fails(history, given._replace(payload=less)))
    given = given._replace(payload=payload)
    error = replay(target, history, given)
    return Failure(tuple(history), given, error or failure.error)


def _drop(items: list[Any], still: Callable[[list[Any]], bool]) -> None:
    """Remove stretches of items, ever shorter ones, while `still` holds."""
    length = len(items)
    while length:
        at = 0
        while at < len(items):
            shorter = items[:at] + items[at + length :]
            if still(shorter):
                items[:] = shorter
            else:
                at += length
        length //= 2


def _smaller(payload: bytes, still: Callable[[bytes], bool]) -> bytes:
    """By structure where there is one, else by bytes."""
    while True:
        for less in _variants(payload):
            if len(less) < len(payload) and still(less):
                payload = less
                break
        else:
            break
    if not _is_json(payload):
        letters = list(payload)
        _drop(letters, lambda shorter: still(bytes(shorter)))
        payload = bytes(letters)
    return payload


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return False
    return True


def _variants(payload: bytes) -> Iterator[bytes]:
    try:
        tree = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return
    for variant in _simpler(tree):
        yield _encode(variant)


def _simpler(tree: Any) -> Iterator[Any]:
    """Each way of leaving one thing out."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield {name: inner for name, inner in tree.items() if name != key}
            for inner in _simpler(value):
                yield {**tree, key: inner}
    elif isinstance(tree, list):
        if len(tree) > 1:
            yield tree[: len(tree) // 2]
            yield tree[len(tree) // 2 :]
        for index, value in enumerate(tree[:20]):
            yield tree[:index] + tree[index + 1 :]
            for inner in _simpler(value):
                yield [*tree[:index], inner, *tree[index + 1 :]]
    elif isinstance(tree, str) and len(tree) > 1:
        yield tree[: len(tree) // 2]
        yield tree[len(tree) // 2 :]
