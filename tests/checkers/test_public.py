"""Does the checker see public facts that are missing, repeated, made up or out of order?"""

from __future__ import annotations

import pytest

from penstock_contracts.public import JobEvent
from tests.checkers.history import History
from tests.checkers.public import check_public
from tests.checkers.tampering import Tamper, codes_after, replace


def _place(history: History, name: str) -> int:
    events = (fact.event for fact in history.facts)
    return next(i for i, e in enumerate(events) if isinstance(e, JobEvent) and e.fact == name)


def _first_missing(history: History) -> None:
    del history.facts[_place(history, "submitted")]


def _last_missing(history: History) -> None:
    del history.facts[_place(history, "succeeded")]


def _refusal_missing(history: History) -> None:
    history.facts.pop()


def _repeated(history: History) -> None:
    history.facts.insert(3, history.facts[2])


def _swapped(history: History) -> None:
    history.facts[2], history.facts[3] = history.facts[3], history.facts[2]


def _other_id(history: History) -> None:
    history.facts[2] = replace(history.facts[2], ce_id="1.1")


def _other_subject(history: History) -> None:
    history.facts[2] = replace(history.facts[2], subject="penstock.v1.job.red.X.queued")


def _ends_again(history: History) -> None:
    last = history.facts[-1]
    end = history.facts[_place(history, "succeeded")].event
    assert isinstance(end, JobEvent)
    again = replace(end, seq=last.event.seq, index=9, fact="failed")
    history.facts.append(
        replace(
            last,
            event=again,
            ce_id=f"{again.seq}.9",
            subject=f"penstock.v1.job.blue.{end.job_id}.failed",
        )
    )


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_first_missing, "illegal_transition"),
        (_first_missing, "fact_missing"),
        (_last_missing, "fact_missing"),
        (_refusal_missing, "fact_missing"),
        (_repeated, "fact_out_of_order"),
        (_repeated, "fact_made_up"),
        (_swapped, "fact_out_of_order"),
        (_other_id, "fact_misnamed"),
        (_other_subject, "fact_misnamed"),
        (_ends_again, "ended_twice"),
    ],
)
def test_a_wrong_public_fact_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_public, tamper)
