"""Is every lesson from elsewhere shown by a test, or open by name, and does the document say so?"""

from __future__ import annotations

from tidy.lessons import DOCUMENT, document, lessons, marked
from tidy.source import report, texts


def test_every_lesson_has_a_test_or_is_open_by_name() -> None:
    shown = {number for test in marked() for number in test.lessons}
    bare = [f"{x.number} {x.where}" for x in lessons() if x.number not in shown and not x.open]
    assert not bare, report(bare)


def test_every_mark_names_a_lesson() -> None:
    known = {lesson.number for lesson in lessons()}
    wrong = [
        f"{test.place}: no lesson {number}"
        for test in marked()
        for number in test.lessons
        if number not in known
    ]
    assert not wrong, report(wrong)


def test_the_document_is_what_table_and_marks_say() -> None:
    assert texts().get(DOCUMENT) == document(), f"{DOCUMENT} is stale: run `make docs`"
