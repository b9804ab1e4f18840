"""Does the checker see use that is billed twice, for nothing, too long or too short?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import RankExited
from penstock_contracts.queries import Finding
from tests.checkers.history import Ending, Fault, History
from tests.checkers.ledger import check_ledger
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _line(history: History, index: int, **fields: object) -> None:
    history.ledger[index] = history.ledger[index]._replace(**fields)


def _of_no_lease(history: History) -> None:
    _line(history, 0, lease_seq=999)


def _on_another_node(history: History) -> None:
    _line(history, 0, node="n2")


def _more_than_leased(history: History) -> None:
    _line(history, 0, milli=1_001)


def _same_segment_twice(history: History) -> None:
    history.ledger.append(history.ledger[0])


def _overlapping(history: History) -> None:
    _line(history, 1, t0_ms=history.ledger[1].t0_ms - 5)


def _with_a_gap(history: History) -> None:
    _line(history, 1, t0_ms=history.ledger[1].t0_ms + 5)


def _first_segment_lost(history: History) -> None:
    del history.ledger[0]


def _backwards(history: History) -> None:
    _line(history, 1, t1_ms=history.ledger[1].t0_ms - 1)


def _all_lost(history: History) -> None:
    del history.ledger[0:2]


def _last_segment_lost(history: History) -> None:
    del history.ledger[1]


def _a_millisecond_more(history: History) -> None:
    _line(history, 1, t1_ms=history.ledger[1].t1_ms + 1)


def _never_ran(history: History) -> None:
    del history.runs[0]


def _ending(history: History) -> Ending:
    assert history.ending is not None
    return history.ending


def _unaccounted(history: History) -> None:
    ending = _ending(history)
    assert ending.metering is not None
    ending.metering = replace(ending.metering, unaccounted_ms=1)


def _not_conserved(history: History) -> None:
    ending = _ending(history)
    assert ending.metering is not None
    ending.metering = replace(ending.metering, capacity_milli_ms=999)


def _miscounted(history: History) -> None:
    ending = _ending(history)
    assert ending.metering is not None
    ending.metering = replace(ending.metering, accepted=3)


def _finding(history: History) -> None:
    ending = _ending(history)
    assert ending.scheduler is not None
    ending.scheduler = replace(ending.scheduler, findings=(Finding("line_broken", "so"),))


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_of_no_lease, "billed_without_lease"),
        (_on_another_node, "billed_elsewhere"),
        (_more_than_leased, "billed_elsewhere"),
        (_same_segment_twice, "billed_twice"),
        (_overlapping, "billed_twice"),
        (_with_a_gap, "segment_missing"),
        (_first_segment_lost, "segment_missing"),
        (_backwards, "billed_backwards"),
        (_all_lost, "billed_too_little"),
        (_last_segment_lost, "billed_too_little"),
        (_a_millisecond_more, "billed_too_much"),
        (_never_ran, "billed_without_run"),
        (_unaccounted, "unaccounted"),
        (_not_conserved, "not_conserved"),
        (_miscounted, "miscounted"),
        (_finding, "audit_finding"),
    ],
)
def test_a_wrong_bill_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_ledger, tamper)


def test_less_than_a_millisecond_is_rounding() -> None:
    def tamper(history: History) -> None:
        run = history.runs[0]
        assert run.ended_boot_ns is not None
        run.ended_boot_ns += 999_999

    assert codes_after(check_ledger, tamper) == set()


def test_a_reaper_that_could_not_look_may_bill_until_it_can() -> None:
    def tamper(history: History) -> None:
        run = history.runs[0]
        assert run.ended_ns is not None
        until_ns = run.ended_ns + 5_000_000_000
        history.faults.append(
            Fault(at_ns=run.began_ns, kind="reaper frozen", node=run.node, until_ns=until_ns)
        )
        _line(history, 1, t1_ms=history.ledger[1].t1_ms + 5_000)

    def too_long(history: History) -> None:
        tamper(history)
        _line(history, 1, t1_ms=history.ledger[1].t1_ms + 40_000)

    assert codes_after(check_ledger, tamper) == set()
    assert codes_after(check_ledger, too_long) == {"billed_too_much"}


def test_the_rest_of_a_run_whose_end_nobody_saw_is_not_guessed() -> None:
    def tamper(history: History) -> None:
        history.runs[0].waited = False
        _last_segment_lost(history)

    assert codes_after(check_ledger, tamper) == set()


def test_a_host_that_was_rebooted_owes_only_what_it_had_told() -> None:
    def reboot(history: History) -> None:
        history.boots[0].ended_ns = 1
        _last_segment_lost(history)

    def unsaid(history: History) -> None:
        reboot(history)
        edit_fact(history, RankExited, lambda fact: (replace(fact, reason="lost"),))

    assert codes_after(check_ledger, reboot) == {"billed_too_little"}
    assert codes_after(check_ledger, unsaid) == set()
