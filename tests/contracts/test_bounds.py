"""Has every field that others fill a bound?"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import inspect

from penstock_contracts.bounds import MESSAGE_LETTERS_MAX, Label, cut
from penstock_contracts.errors import MALFORMED
from penstock_contracts.leases import NodeReport
from penstock_contracts.message_type import CLIENT, NODE, MessageType
from penstock_contracts.registry import MESSAGES

CHECKED_ELSEWHERE = {
    "JobSpec.job_id": "a ULID, or it is refused",
    "JobSpec.env": "names and number by the size of a request; each name by ENV_NAME",
}
FROM_OUTSIDE = [m for m in MESSAGES if {CLIENT, NODE} & set(m.writers) and m.payload is not None]


def unbounded(kind: inspect.Type, where: str, seen: set[type]) -> Iterator[str]:
    """The paths of all texts without a length and numbers without a range, and of patterns that
    let a line break behind what they describe."""
    if isinstance(kind, inspect.StrType):
        if kind.max_length is None and kind.pattern is None:
            yield where
        if kind.pattern is not None and re.search(r"\$(?!\(\?!\\n\))", kind.pattern):
            yield where
    elif isinstance(kind, inspect.IntType):
        if kind.ge is None or kind.le is None:
            yield where
    elif isinstance(kind, inspect.FloatType):
        yield where
    elif isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from unbounded(part, where, seen)
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
        yield from unbounded(kind.item_type, where, seen)
    elif isinstance(kind, inspect.DictType):
        yield from unbounded(kind.key_type, where, seen)
        yield from unbounded(kind.value_type, where, seen)
    elif isinstance(kind, inspect.StructType) and kind.cls not in seen:
        seen.add(kind.cls)
        for field in kind.fields:
            yield from unbounded(field.type, f"{kind.cls.__name__}.{field.name}", seen)


@pytest.mark.parametrize("message", FROM_OUTSIDE, ids=lambda message: message.name)
def test_every_text_has_a_length_and_every_number_a_range(message: MessageType) -> None:
    found = set(unbounded(inspect.type_info(message.payload), message.name, set()))
    assert found - CHECKED_ELSEWHERE.keys() == set()


@pytest.mark.parametrize("number", [-1, 1 << 43, 1 << 63, 1 << 64, 10**30])
def test_a_report_with_an_instant_that_no_table_holds_is_rubbish(number: int) -> None:
    step = {"kind": "released", "job_id": "x", "attempt": 1, "rank": 0, "lease_seq": 1}
    report = {"node": "n1", "boot_id": "b", "items": [{**step, "at_ms": number}]}
    with pytest.raises(MALFORMED):
        msgspec.json.decode(msgspec.json.encode(report), type=NodeReport)


@pytest.mark.parametrize("text", ["H100", "H100\n", "H\n100"])
def test_a_text_on_one_line_has_no_line_break_not_even_at_its_end(text: str) -> None:
    if "\n" not in text:
        assert msgspec.convert(text, Label) == text
        return
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Label)


def test_a_message_is_cut_to_what_is_taken() -> None:
    assert cut("short") == "short"
    longest = "x" * MESSAGE_LETTERS_MAX
    assert cut(longest) == longest
    assert len(cut(longest + "y")) == MESSAGE_LETTERS_MAX and cut(longest + "y").endswith("…")
