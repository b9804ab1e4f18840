"""Does the verdict name every promise that was broken, and the story what led to it?"""

from __future__ import annotations

from penstock_contracts.journal import JobFinished
from tests.checkers.builders import a_good_history
from tests.checkers.history import Fault, OrderSeen, Violation
from tests.checkers.story import story_of
from tests.checkers.tampering import edit_entry, edit_fact, replace
from tests.checkers.verdict import judge


def test_a_good_history_breaks_nothing() -> None:
    assert judge(a_good_history()) == {}


def test_a_broken_promise_is_named_with_its_checker() -> None:
    history = a_good_history()
    history.ledger.append(history.ledger[0])
    history.logs.clear()
    found = judge(history)
    assert sorted(found) == ["ledger", "logs"]
    assert {violation.checker for violation in found["logs"]} == {"logs"}


def test_what_rests_on_acknowledged_data_is_not_asked_of_a_broker_that_lost_some() -> None:
    history = a_good_history()
    history.lossy_broker = True
    edit_fact(history, JobFinished, lambda _: ())
    del history.runs[0]
    assert judge(history) == {}
    edit_entry(history, -1, term=0)
    assert sorted(judge(history)) == ["cursors"]


def test_no_device_is_used_by_two_nor_without_a_grant_whatever_the_broker_has_lost() -> None:
    history = a_good_history()
    history.lossy_broker = True
    run = history.runs[0]
    history.runs.append(replace(run, job_id="OTHER", began_ns=run.began_ns + 1))
    assert sorted(judge(history)) == ["fencing", "holders"]


def test_the_story_of_a_job_is_told_in_the_order_of_time() -> None:
    history = a_good_history()
    run = history.runs[0]
    history.orders.append(
        OrderSeen(
            at_ns=run.began_ns - 1, node="n1", as_of=3, full=True,
            keys=(f"{run.lease_seq}/{run.job_id}/0",), accepted=True,
        )
    )  # fmt: skip
    history.faults.append(Fault(at_ns=run.began_ns + 1, kind="agent killed", node="n1"))
    text = "\n".join(story_of(history, Violation(code="x", sentence="", job_id=run.job_id)))
    steps = (
        "blue submits it: REQUESTS 1", '"fact":"lease_granted"', "n1 gets everything as of 3",
        "RUNS", "FAULT agent killed n1", "BILLED", "ENDS", '"fact":"rank_released"',
    )  # fmt: skip
    places = [text.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_the_story_of_a_device_names_its_runs_and_releases() -> None:
    history = a_good_history()
    violation = Violation(code="x", sentence="", node="n2", device="n2-a")
    text = "\n".join(story_of(history, violation))
    assert text.count("RUNS") == 2
    assert text.count("released (release_check)") == 2
    assert "n1-a in boot" not in text
