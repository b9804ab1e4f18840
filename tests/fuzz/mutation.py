"""How does a valid message become a bad one?

Structure-aware and seeded: a valid message is taken apart, and fields, types, numbers, texts, lists
and bytes of it are changed in the ways in which senders are wrong or hostile. It does not know what
the message means; a target tells it the words of its world (names, ids, sequences).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from fuzz.words import DEEP, LONG_TEXTS, NUMBERS, PIECES, SUBJECT_TOKENS, TEXTS

Raw = msgspec.Raw
REPEATS_MAX = 300
_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Given(NamedTuple):
    """One input as it arrives. `headers` only where the target reads them."""

    subject: str
    payload: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Mutator:
    """`words` are texts and numbers of the target's world: other tenants, stale sequences, …"""

    def __init__(self, rng: random.Random, words: Sequence[str | int] = ()) -> None:
        self._rng = rng
        self._texts = [word for word in words if isinstance(word, str)] or ["x"]
        self._numbers = [word for word in words if isinstance(word, int)] or [3]

    def mutate(self, valid: Given, others: Sequence[Given]) -> Given:
        """A variant of `valid`; now and then it is still a good one. `others` lend it pieces."""
        rng = self._rng
        subject, payload, headers = valid
        draw = rng.random()
        if draw < 0.15:
            subject = self._subject(subject)
        elif draw < 0.2 and others:
            subject = rng.choice(others).subject  # a valid message in the wrong place
        if headers and rng.random() < 0.4:
            headers = self._headers(headers)
        if rng.random() < 0.93:
            payload = self._payload(payload, others)
        return Given(subject, payload, headers)

    def _payload(self, payload: bytes, others: Sequence[Given]) -> bytes:
        rng = self._rng
        try:
            tree = _decode(payload)
        except ValueError:
            return self._bytes(payload, others)
        if rng.random() < 0.85:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                tree = self._tree(tree)
            payload = _encode(tree)
        if rng.random() < 0.15:
            payload = self._bytes(payload, others)
        return payload

    # -- structure ---------------------------------------------------------------------------------
    def _tree(self, tree: Any) -> Any:
        """Change one place, chosen by walking down at random."""
        rng = self._rng
        if isinstance(tree, dict) and tree and rng.random() < 0.85:
            key = rng.choice(list(tree))
            if rng.random() < 0.35:
                return self._object(tree, key)
            tree[key] = self._tree(tree[key])
            return tree
        if isinstance(tree, list) and tree and rng.random() < 0.8:
            index = rng.randrange(len(tree))
            if rng.random() < 0.3:
                return self._list(tree, index)
            tree[index] = self._tree(tree[index])
            return tree
        return self._value(tree)

    def _object(self, tree: dict[str, Any], key: str) -> Any:
        rng = self._rng
        way = rng.randrange(6)
        if way == 0:
            del tree[key]
        elif way == 1:
            tree[rng.choice(TEXTS)] = self._value(tree[key])
        elif way == 2:
            tree[key.upper() if rng.random() < 0.5 else key + "x"] = tree.pop(key)
        elif way == 3:
            return Raw(_twice(tree, key, self._value(tree[key])))
        elif way == 4:
            other = rng.choice(list(tree))
            tree[key], tree[other] = tree[other], tree[key]
        else:
            return {key: tree[key]}
        return tree

    def _list(self, tree: list[Any], index: int) -> list[Any]:
        rng = self._rng
        way = rng.randrange(5)
        if way == 0:
            del tree[index]
        elif way == 1:
            tree.insert(index, tree[index])
        elif way == 2:
            tree.reverse()
        elif way == 3:
            tree += [tree[index]] * rng.choice((2, 70, REPEATS_MAX))
        else:
            tree.clear()
        return tree

    def _value(self, value: Any) -> Any:
        rng = self._rng
        draw = rng.random()
        if draw < 0.45:
            return self._near(value)
        if draw < 0.6:
            return rng.choice(TEXTS)
        if draw < 0.75:
            return rng.choice(NUMBERS)
        if draw < 0.92:
            return rng.choice(PIECES)
        if draw < 0.95:
            return [value] if rng.random() < 0.5 else {"value": value}
        if draw < 0.975:
            return rng.choice((None, True, False, [], {}))
        return rng.choice(DEEP) if rng.random() < 0.6 else rng.choice(LONG_TEXTS)

    def _near(self, value: Any) -> Any:
        """Of the same type, and of this world: what a liar or a straggler would say."""
        rng = self._rng
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            near = (value + 1, value - 1, -value, value * 1_000, value + 2**40, 0)
            return rng.choice(self._numbers) if rng.random() < 0.5 else rng.choice(near)
        if isinstance(value, str):
            if rng.random() < 0.6:
                return rng.choice(self._texts)
            near_texts = (value[:-1], value + value, value.swapcase(), value[::-1], value + "\0")
            return rng.choice(near_texts)
        return self._value(None)

    # -- bytes and places --------------------------------------------------------------------------
    def _bytes(self, payload: bytes, others: Sequence[Given]) -> bytes:
        rng = self._rng
        size = len(payload)
        at, to = sorted((rng.randint(0, size), rng.randint(0, size)))
        ways: tuple[Callable[[], bytes], ...] = (
            lambda: payload[:at],
            lambda: payload[:at] + payload[to:],
            lambda: payload[:to] + payload[at:],
            lambda: payload[:at] + bytes((rng.randrange(256),)) + payload[at:],
            lambda: payload[:at] + bytes((rng.randrange(256),)) + payload[at + 1 :],
            lambda: payload[:at] + _flipped(payload[at : at + 1], rng) + payload[at + 1 :],
            lambda: b"\xef\xbb\xbf" + payload,
            lambda: payload + payload,
            lambda: payload + rng.choice((b" ", b"\0", b"}", b"x")),
            lambda: payload[:at] + (rng.choice(others).payload[at:] if others else b""),
            lambda: rng.randbytes(rng.randrange(40)),
        )  # fmt: skip
        return rng.choice(ways)()

    def _subject(self, subject: str) -> str:
        tokens = subject.split(".")
        index = self._rng.randrange(len(tokens))
        words = SUBJECT_TOKENS if self._rng.random() < 0.5 else self._texts
        tokens[-1 - index % 4 if len(tokens) > 4 else index] = self._rng.choice(words)
        return ".".join(tokens)

    def _headers(self, headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        index = self._rng.randrange(len(headers))
        name, value = headers[index]
        changed = self._near(value) if self._rng.random() < 0.3 else self._rng.choice(TEXTS)
        return (*headers[:index], (name, str(changed)), *headers[index + 1 :])


def _flipped(data: bytes, rng: random.Random) -> bytes:
    return bytes(byte ^ 1 << rng.randrange(8) for byte in data)


def _twice(tree: dict[str, Any], key: str, value: Any) -> bytes:
    """The object with one key standing in it a second time."""
    return _encode(tree)[:-1] + b"," + _encode({key: value})[1:]
