"""Would every copy of the scheduler place what comes next alike?

Compares what each said in mid-work and at the end: the one that leads, which has brought its view
up to date all along, one begun anew from its snapshot, and those that stand by. It does not know
which of them is right.
"""

from __future__ import annotations

from tests.checkers.history import History, Violation


def check_outlooks(history: History) -> list[Violation]:
    """The first line in which a copy differs from the one that leads, each time they were asked."""
    found = []
    for seen in history.lookouts:
        found += _differences(seen.copies, seen.at_ns)
    ending = history.ending
    if ending is not None and ending.drained_ns is not None:
        found += _differences(ending.outlooks, ending.drained_ns)
    return found


def _differences(copies: dict[str, tuple[str, ...]], at_ns: int) -> list[Violation]:
    if not copies:
        return []
    (leader, expected), *others = copies.items()
    found = []
    for name, outlook in others:
        for line, other in zip(expected, outlook, strict=False):
            if line != other:
                found.append(_of(f"{leader}: {line}; {name}: {other}", at_ns))
                break
        else:
            if len(expected) != len(outlook):
                what = f"{leader} knows {len(expected)} lines, {name} {len(outlook)}"
                found.append(_of(what, at_ns))
    return found


def _of(sentence: str, at_ns: int) -> Violation:
    return Violation(code="outlook_differs", sentence=sentence, at_ns=at_ns)
