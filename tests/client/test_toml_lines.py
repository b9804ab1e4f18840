"""Is every key, table and element of a TOML file found on its line?"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock_client.toml_lines import Path, lines_of

DOCUMENT = '''\
a = 1 # x = 2
b.c."d.e" = "x#[y]"
'q q' = """
[[no]]
n = 3 \\""" # neither
"""""
[t]
x = [1, 2, # c
  {k = [ "]" ], l.m = 1979-05-27 07:32:00Z},
  ]
[[q]]
n = "a"
[q.sub]
z = 1
[[q.r]]
[[q.r]]
s = \'\'\'a
[b]\'\'\'\'\'
[[q]]
n = {}
[q."é]"]
w = -1
'''


def paths(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place that `tomllib` knows, with what it has there."""
    if path:
        yield path, value
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        yield from paths(inner, (*path, key))


def test_keys_are_found_in_every_way_of_writing_them() -> None:
    lines = lines_of(DOCUMENT)
    assert set(lines) == {path for path, _ in paths(tomllib.loads(DOCUMENT))}
    expected: dict[Path, int] = {
        ("a",): 1,
        ("b", "c", "d.e"): 2,
        ("q q",): 3,
        ("t",): 7,
        ("t", "x", 1): 8,
        ("t", "x", 2, "l", "m"): 9,
        ("q",): 11,
        ("q", 0): 11,
        ("q", 0, "sub", "z"): 14,
        ("q", 0, "r", 1): 16,
        ("q", 0, "r", 1, "s"): 17,
        ("q", 1): 19,
        ("q", 1, "é]", "w"): 22,
    }
    assert {path: lines[path] for path in expected} == expected
    assert lines_of(DOCUMENT.replace("\n", "\r\n")) == lines


@pytest.mark.parametrize("text", ["a", "a =", "= 1", "a = [1 2]", "a = {b = 1 c = 2}", "[a"])
def test_what_is_no_toml_is_no_endless_search(text: str) -> None:
    with pytest.raises(ValueError, match="line 1: expected"):
        lines_of(text)


key = st.sampled_from(["a", "b", "a.b", "", 'q"', "\n#", "é"])
leaf = (
    st.integers(-9, 9) | st.booleans() | st.sampled_from(["", "x", "[[a]]", "a = 1\n", '"\\', "#"])
)
inner = st.recursive(
    leaf, lambda v: st.lists(v, max_size=3) | st.dictionaries(key, v, max_size=3), max_leaves=4
)
tables = st.dictionaries(key, inner, max_size=3)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(letter):08x}" for letter in text) + '"'


def written(value: Any, draw: Any) -> str:
    """TOML for it, in one of several ways."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = all(letter.isalnum() or letter in "#[]{}=,. \n" for letter in value)
        if plain and draw(st.booleans()):
            return f"'''\n{value}'''" if draw(st.booleans()) else f'"""\n{value}"""'
        return quoted(value)
    if isinstance(value, list):
        blank = draw(st.sampled_from(["", "\n", " # ] } , \n  "]))
        return f"[{blank}" + "".join(f"{written(v, draw)},{blank}" for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {written(v, draw)}" for k, v in value.items()) + "}"
    return str(value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.data(), tables, st.dictionaries(key, st.lists(tables, min_size=1, max_size=3), max_size=2)
)
def test_the_same_places_are_found_as_tomllib_finds(
    data: Any, top: dict[str, Any], arrays: dict[str, list[dict[str, Any]]]
) -> None:
    """And each on the line where its key was written."""
    text, marks = "", {}

    def write(part: str, path: Path) -> None:
        nonlocal text
        text += data.draw(st.sampled_from(["", "\n", "# a = [\n"]))
        marks[path] = 1 + text.count("\n")
        text += part + "\n"

    for name, value in top.items():
        write(f"{quoted(name)} = {written(value, data.draw)}", (name,))
    for name, elements in arrays.items():
        if name in top:
            continue
        for index, table in enumerate(elements):
            write(f"[[ {quoted(name)} ]]", (name, index))
            for inside, value in table.items():
                write(f"{quoted(inside)}={written(value, data.draw)}", (name, index, inside))
    lines = lines_of(text)
    assert set(lines) == {path for path, _ in paths(tomllib.loads(text))}
    assert {path: lines[path] for path in marks} == marks
