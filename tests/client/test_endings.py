"""What is a person told of a job's end, and what its shell?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_client.commands.endings import exit_code_of, sentence_of
from penstock_contracts.jobs import FAILED, SUCCEEDED
from penstock_contracts.public import JobEvent


def an_end(fact: str, **fields: Any) -> JobEvent:
    return JobEvent(
        seq=1, index=0, job_id="J", tenant="acme", fact=fact, attempt=1, at_ms=1, **fields
    )


@pytest.mark.parametrize(
    ("end", "code", "sentence"),
    [
        (an_end(SUCCEEDED, exit_code=0), 0, ""),
        (an_end(FAILED, exit_code=7, reason="exited"), 7, ""),
        (an_end(FAILED, signal=11, reason="signalled"), 139, ""),
        (
            an_end(FAILED, signal=9, reason="out_of_memory", message="too much"),
            137,
            "the job failed: out_of_memory: too much",
        ),
        (
            an_end(FAILED, exit_code=137, reason="out_of_memory"),
            137,
            "the job failed: out_of_memory",
        ),
        (
            an_end(FAILED, reason="spawn_failed", message="no user"),
            127,
            "the job failed: spawn_failed: no user",
        ),
    ],
)
def test_what_an_exit_code_does_not_say_is_said(end: JobEvent, code: int, sentence: str) -> None:
    assert (exit_code_of(end), sentence_of(end)) == (code, sentence)
