"""Does the checker see an order that goes back, is repeated, or runs ahead?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import JobSubmitted
from tests.checkers.cursors import check_cursors
from tests.checkers.history import CursorSeen, History
from tests.checkers.tampering import Tamper, codes_after, edit_entry, entry_of, replace


def _hole(history: History) -> None:
    del history.jobs_entries[3]


def _one_replaced(history: History) -> None:
    history.jobs_entries.insert(5, history.jobs_entries[4])


def _older_term(history: History) -> None:
    edit_entry(history, 4, term=2)


def _two_writers(history: History) -> None:
    edit_entry(history, 4, writer="somebody")


def _same_id(history: History) -> None:
    edit_entry(history, 4, entry_id=history.jobs_entries[2].entry.entry_id)


def _older_instant(history: History) -> None:
    edit_entry(history, 4, now_ns=1)


def _older_cursor(history: History) -> None:
    edit_entry(history, -1, cursors={"REQUESTS": 1})


def _read_twice(history: History) -> None:
    edit_entry(history, 0, cursors={"REQUESTS": 1})


def _cursor_not_with_the_facts(history: History) -> None:
    for place in range(len(history.jobs_entries)):
        edit_entry(history, place, cursors={"REQUESTS": 0})


def _published_back(history: History) -> None:
    seen = history.cursors[-1]
    history.cursors.append(replace(seen, seq=seen.seq - 1))


def _published_ahead(history: History) -> None:
    seen = history.cursors[-1]
    history.cursors.append(replace(seen, seq=seen.seq + 1))


def _published_too_early(history: History) -> None:
    place = entry_of(history, JobSubmitted)
    at_ns = history.jobs_entries[place].at_ns - 1
    history.cursors.insert(0, CursorSeen(at_ns=at_ns, stream="REQUESTS", reader="scheduler", seq=1))


def _skipped(history: History) -> None:
    assert history.ending is not None
    history.ending.entries_skipped = 1


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_hole, "entry_out_of_order"),
        (_one_replaced, "entry_out_of_order"),
        (_older_term, "term_went_back"),
        (_two_writers, "term_shared"),
        (_same_id, "entry_repeated"),
        (_older_instant, "instant_went_back"),
        (_older_cursor, "cursor_went_back"),
        (_read_twice, "request_read_twice"),
        (_cursor_not_with_the_facts, "cursor_behind_facts"),
        (_published_back, "published_went_back"),
        (_published_ahead, "published_ahead"),
        (_published_too_early, "published_ahead"),
        (_skipped, "entry_skipped"),
    ],
)
def test_what_goes_back_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_cursors, tamper)


def test_an_entry_that_nobody_could_read_leaves_no_hole() -> None:
    def tamper(history: History) -> None:
        del history.jobs_entries[0]
        history.undecodable.add(("JOBS", 1))

    assert codes_after(check_cursors, tamper) == set()


def test_a_damaged_entry_may_be_skipped() -> None:
    def tamper(history: History) -> None:
        _skipped(history)
        history.undecodable.add(("JOBS", 100))

    assert codes_after(check_cursors, tamper) == set()
