"""How is a policy of the queue written as a file, and in which words do two of them differ?

The way back of `policy_file`: what this writes, that reads as the same policy. It does not know
where the file lies, nor which of the two policies holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from penstock_client.policy_fields import FIELDS, PARTS, TOP, Field
from penstock_contracts.queue_policy import QueuePolicy

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\"}


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`kind`: added, removed, changed or moved; of a change `before` and `after` are values as in
    the file, "" = not said there."""

    kind: str
    part: str
    name: str = ""
    field: str = ""
    before: str = ""
    after: str = ""


def policy_text(policy: QueuePolicy) -> str:
    """TOML, without what is as it is when nothing is said."""
    lines = [*_lines(policy, TOP)]
    for part in PARTS:
        for entry in getattr(policy, part):
            lines += ["", f"[[{part}]]", *_lines(entry, FIELDS[part])]
    return "\n".join(lines).lstrip("\n") + "\n" if lines else ""


def changes(old: QueuePolicy, new: QueuePolicy) -> tuple[Change, ...]:
    """All that makes `new` of `old`, in the order of the file."""
    found = [_changed("", "", field, *pair) for field, *pair in _differences(old, new, TOP)]
    for part in PARTS:
        found += _part_changes(part, getattr(old, part), getattr(new, part))
    return tuple(found)


def _part_changes(part: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    before = {entry.name: entry for entry in old}
    after = {entry.name: entry for entry in new}
    for name in before:
        if name not in after:
            yield Change(kind="removed", part=part, name=name)
    for name, entry in after.items():
        if name not in before:
            text = ", ".join(_lines(entry, FIELDS[part])[1:])
            yield Change(kind="added", part=part, name=name, after=text)
            continue
        for field, *pair in _differences(before[name], entry, FIELDS[part]):
            yield _changed(part, name, field, *pair)
    if part == "pools":
        yield from _moves([name for name in before if name in after], list(after), before)


def _moves(kept: list[str], order: list[str], before: dict[str, Any]) -> Iterator[Change]:
    """Pools: a node goes to the first that has its labels, so their order counts."""
    now = [name for name in order if name in before]
    if kept != now:
        yield Change(kind="moved", part="pools", before=", ".join(kept), after=", ".join(now))


def _changed(part: str, name: str, field: str, before: str, after: str) -> Change:
    return Change(kind="changed", part=part, name=name, field=field, before=before, after=after)


def _differences(old: Any, new: Any, fields: dict[str, Field]) -> Iterator[tuple[str, str, str]]:
    for name, field in fields.items():
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            yield name, _written(field, before), _written(field, after)


def _lines(entry: Any, fields: dict[str, Field]) -> list[str]:
    defaults = {one.name: one.default for one in msgspec.structs.fields(entry)}
    return [
        f"{name} = {_written(field, value)}"
        for name, field in fields.items()
        if (value := getattr(entry, field.name)) != defaults[field.name] and value not in ({}, ())
    ]


def _written(field: Field, value: Any) -> str:
    return "" if value is None else _value(field.give(value))


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case datetime():
            precision = "milliseconds" if value.microsecond else "seconds"
            return value.isoformat(timespec=precision).replace("+00:00", "Z")
        case dict():
            pairs = ", ".join(f"{_key(key)} = {_string(one)}" for key, one in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case str():
            return _string(value)
    return f"[{', '.join(map(_string, value))}]"


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    """A basic string; what is not to be seen is escaped."""
    return '"' + "".join(_letter(letter) for letter in text) + '"'


def _letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
