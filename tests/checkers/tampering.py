"""How is a good history spoilt, one thing at a time?

Edits of what `builders` made. It knows no checker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tests.checkers.builders import a_good_history
from tests.checkers.history import Entry, History, Violation

Tamper = Callable[[History], None]
Check = Callable[[History], list[Violation]]

replace = msgspec.structs.replace


def codes_after(check: Check, tamper: Tamper) -> set[str]:
    """What a checker finds in a good history that was tampered with; nothing before that."""
    history = a_good_history()
    if found := check(history):
        raise ValueError(f"the history is not good: {found}")
    tamper(history)
    return {violation.code for violation in check(history)}


def edit_fact(
    history: History, kind: type, change: Callable[[Any], tuple[Any, ...]], nth: int = 0
) -> None:
    """Have other facts stand where the nth fact of a kind stood in JOBS."""
    for place, seen in enumerate(history.jobs_entries):
        for index, fact in enumerate(seen.entry.facts):
            if not isinstance(fact, kind):
                continue
            if nth == 0:
                facts = [*seen.entry.facts]
                facts[index : index + 1] = change(fact)
                history.jobs_entries[place] = _with(seen, facts=facts)
                return
            nth -= 1
    raise ValueError(f"no such {kind.__name__}")


def edit_entry(history: History, place: int, **fields: Any) -> None:
    """Change fields of one entry of JOBS, by its place in the list."""
    history.jobs_entries[place] = _with(history.jobs_entries[place], **fields)


def entry_of(history: History, kind: type, nth: int = 0) -> int:
    """The place in the list of the nth entry with a fact of a kind."""
    places = (
        place
        for place, seen in enumerate(history.jobs_entries)
        for fact in seen.entry.facts
        if isinstance(fact, kind)
    )
    return [*places][nth]


def _with(seen: Entry, **fields: Any) -> Entry:
    return replace(seen, entry=replace(seen.entry, **fields))
