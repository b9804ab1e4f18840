"""Does the checker see output that is missing, wrong or somebody else's?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import JobFinished, JobSubmitted, RankExited
from penstock_contracts.work import Container
from tests.checkers.history import History, LogChunk, LogKey
from tests.checkers.logs import check_logs
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _key(history: History) -> LogKey:
    return next(iter(history.logs))


def _all_missing(history: History) -> None:
    del history.logs[_key(history)]


def _end_missing(history: History) -> None:
    history.logs[_key(history)].pop()


def _hole(history: History) -> None:
    history.logs[_key(history)][:] = [LogChunk(0, b"hello"), LogChunk(6, b"world\n")]


def _wrong_byte(history: History) -> None:
    history.logs[_key(history)][0] = LogChunk(0, b"jello ")


def _in_the_wrong_place(history: History) -> None:
    history.logs[_key(history)].append(LogChunk(1, b"hello "))


def _too_long(history: History) -> None:
    history.logs[_key(history)].append(LogChunk(12, b"!"))


def _of_nobody(history: History) -> None:
    history.logs["blue", "NOBODY", 1, 0, "stdout"] = [LogChunk(0, b"!")]


def _told_wrongly(history: History) -> None:
    edit_fact(history, RankExited, lambda fact: (replace(fact, log_bytes={"stdout": 3}),))


def _told_otherwise_in_the_end(history: History) -> None:
    edit_fact(history, JobFinished, lambda fact: (replace(fact, log_bytes={}),))


def _later_before_earlier(history: History) -> None:
    history.logs[_key(history)].reverse()


def _a_hole_before_what_is_dropped(history: History) -> None:
    _written_beyond_its_room(history)
    history.logs[_key(history)][:] = [LogChunk(0, b"hello"), LogChunk(6, dropped=6)]


def _dropped_for_nothing(history: History) -> None:
    history.spool_bytes = (100, 1_000)
    history.logs[_key(history)][0] = LogChunk(0, dropped=6)


def _too_much_dropped(history: History) -> None:
    _written_beyond_its_room(history)
    history.logs[_key(history)][1] = LogChunk(6, dropped=7)


def _written_beyond_its_room(history: History) -> None:
    history.spool_bytes = (10, 1_000)


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_all_missing, "log_missing"),
        (_end_missing, "log_missing"),
        (_wrong_byte, "log_wrong"),
        (_in_the_wrong_place, "log_wrong"),
        (_too_long, "log_too_long"),
        (_of_nobody, "log_of_nobody"),
        (_later_before_earlier, "log_out_of_order"),
        (_dropped_for_nothing, "log_dropped_for_nothing"),
        (_too_much_dropped, "log_too_long"),
        (_told_wrongly, "log_size_wrong"),
        (_told_otherwise_in_the_end, "log_size_wrong"),
    ],
)
def test_output_that_is_not_whole_is_found(tamper: Tamper, code: str) -> None:
    assert codes_after(check_logs, tamper) == {code}


@pytest.mark.parametrize("tamper", [_hole, _a_hole_before_what_is_dropped])
def test_a_hole_is_found_with_what_stands_behind_it(tamper: Tamper) -> None:
    assert codes_after(check_logs, tamper) == {"log_missing", "log_out_of_order"}


def test_what_there_was_no_room_for_may_be_dropped_in_its_place() -> None:
    def tamper(history: History) -> None:
        _written_beyond_its_room(history)
        history.logs[_key(history)][0] = LogChunk(0, dropped=6)

    assert codes_after(check_logs, tamper) == set()


def test_a_chunk_may_be_stored_twice_and_lost_with_its_disk() -> None:
    def tamper(history: History) -> None:
        chunks = history.logs[_key(history)]
        chunks.append(chunks[0])
        history.runs[1].output_lost = True
        run = history.runs[1]
        del history.logs[run.tenant, run.job_id, run.attempt, run.rank, "stdout"]

    assert codes_after(check_logs, tamper) == set()


@pytest.mark.parametrize(("stream", "found"), [("stderr", set()), ("stdout", {"log_of_nobody"})])
def test_why_a_container_did_not_begin_stands_in_its_errors(stream: str, found: set[str]) -> None:
    def tamper(history: History) -> None:
        spec = replace(history.submissions[0].spec, container=Container(image="app"))
        edit_fact(history, JobSubmitted, lambda fact: (replace(fact, spec=spec),))
        history.logs["blue", spec.job_id, 2, 0, stream] = [LogChunk(0, b"Error: no such program")]

    assert codes_after(check_logs, tamper) == found
