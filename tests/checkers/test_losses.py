"""Does the checker see an end that was seen and called lost, and nothing else?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock_contracts.journal import JobSubmitted, RankExited, RankReleased
from tests.checkers.history import History
from tests.checkers.losses import check_losses
from tests.checkers.tampering import codes_after, edit_fact, replace


def _lost(history: History) -> None:
    edit_fact(history, RankExited, lambda fact: (replace(fact, reason="lost", exit_code=None),))


def test_an_end_that_was_seen_and_is_called_lost_is_found() -> None:
    assert codes_after(check_losses, _lost) == {"end_untold"}


def _reaper_died(history: History) -> None:
    history.runs[0].waited = False


def _host_rebooted(history: History) -> None:
    history.boots[0].ended_ns = history.runs[0].ended_ns


def _host_fenced(history: History) -> None:
    edit_fact(history, RankReleased, lambda fact: (replace(fact, evidence="fenced"),))


def _may_be_given_up(history: History) -> None:
    def change(fact: JobSubmitted) -> tuple[JobSubmitted]:
        return (replace(fact, spec=replace(fact.spec, disconnect_s=30)),)

    edit_fact(history, JobSubmitted, change)


def _entry_unreadable(history: History) -> None:
    history.undecodable.add(("JOBS", 9))


@pytest.mark.parametrize(
    "excuse", [_reaper_died, _host_rebooted, _host_fenced, _may_be_given_up, _entry_unreadable]
)
def test_what_nobody_can_know_may_be_lost(excuse: Callable[[History], None]) -> None:
    def tamper(history: History) -> None:
        _lost(history)
        excuse(history)

    assert codes_after(check_losses, tamper) == set()


def test_a_host_that_reboots_later_is_no_excuse() -> None:
    def tamper(history: History) -> None:
        _lost(history)
        history.boots[0].ended_ns = history.jobs_entries[-1].at_ns + 1

    assert codes_after(check_losses, tamper) == {"end_untold"}


def test_an_end_that_outlived_its_reaper_is_not_lost_with_it() -> None:
    def tamper(history: History) -> None:
        _lost(history)
        _reaper_died(history)
        history.runs[0].contained = history.runs[0].survives = True

    assert codes_after(check_losses, tamper) == {"end_untold"}
