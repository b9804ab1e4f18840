"""Is machine code that numba has kept on disk made of the source that is there?

numba looks only at the file of the function that is called, not at the files which that one calls.
So each file states what it was written against; a change must be stated there too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from penstock_scheduler.core.packing import layout, leaders, loops, scoring


def digest(module: object) -> str:
    return hashlib.sha256(Path(str(getattr(module, "__file__", ""))).read_bytes()).hexdigest()[:12]


def test_each_file_of_loops_names_the_source_that_it_calls() -> None:
    assert digest(layout) == scoring.LAYOUT, (
        f'write LAYOUT = "{digest(layout)}" into scoring.py, then run again'
    )
    assert digest(scoring) == loops.SCORING, f'write SCORING = "{digest(scoring)}" into loops.py'
    assert digest(layout) == leaders.LAYOUT, f'write LAYOUT = "{digest(layout)}" into leaders.py'
