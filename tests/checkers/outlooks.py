"""Would every copy of the scheduler place what comes next alike?

Compares what each said at the end: the one that leads, which has brought its view up to date all
along, one begun anew from its snapshot, and those that stand by. It does not know which of them is
right.
"""

from __future__ import annotations

from tests.checkers.history import History, Violation


def check_outlooks(history: History) -> list[Violation]:
    """The first line in which a copy differs from the one that leads."""
    ending = history.ending
    if ending is None or ending.drained_ns is None or not ending.outlooks:
        return []
    (leader, expected), *others = ending.outlooks.items()
    found = []
    for name, outlook in others:
        for line, other in zip(expected, outlook, strict=False):
            if line != other:
                found.append(_of(f"{leader}: {line}; {name}: {other}", ending.drained_ns))
                break
        else:
            if len(expected) != len(outlook):
                what = f"{leader} knows {len(expected)} lines, {name} {len(outlook)}"
                found.append(_of(what, ending.drained_ns))
    return found


def _of(sentence: str, at_ns: int) -> Violation:
    return Violation(code="outlook_differs", sentence=sentence, at_ns=at_ns)
