"""Is machine code that numba has kept on disk made of the source that is there?

numba looks only at the file of the function that is called, not at the files which that one calls.
So each file states what it was written against; a change must be stated there too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock_scheduler.core.packing import compiled, layout, leaders, loops, scoring


def digest(module: object) -> str:
    return hashlib.sha256(Path(str(getattr(module, "__file__", ""))).read_bytes()).hexdigest()[:12]


def test_each_file_of_loops_names_the_source_that_it_calls() -> None:
    assert digest(layout) == scoring.LAYOUT, (
        f'write LAYOUT = "{digest(layout)}" into scoring.py, then run again'
    )
    assert digest(scoring) == loops.SCORING, f'write SCORING = "{digest(scoring)}" into loops.py'
    assert digest(layout) == leaders.LAYOUT, f'write LAYOUT = "{digest(layout)}" into leaders.py'


def test_functions_are_compiled_also_where_nothing_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def njit(**options: bool) -> Callable[[object], object]:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "HAS_NUMBA", True)
    monkeypatch.setattr(compiled, "_njit", njit, raising=False)
    assert compiled.compiled_in_place(digest) is digest
    assert asked == [
        {"cache": True, "nogil": True, "_nrt": False},
        {"nogil": True, "_nrt": False},
    ]
