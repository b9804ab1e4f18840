"""Do the options of `penstock run` say when a job should have its turn, and how it yields?"""

from __future__ import annotations

import time

import click
import pytest

from client.test_work_options import spec_of
from penstock_client.commands.turns import turn_said


def test_pool_deadline_and_saving_are_said_in_options() -> None:
    spec = spec_of(
        *("--pool", "h100", "--deadline", "2100-01-01T08:00"),
        *("--checkpoint-signal", "SIGUSR1", "--checkpoint-every", "10m"),
    )
    assert (spec.pool, spec.deadline_ms) == ("h100", 4_102_473_600_000)
    assert (spec.checkpoint_signal, spec.checkpoint_s) == ("SIGUSR1", 600)
    said = dict(turn_said(spec))
    assert said["pool"] == "h100"
    assert said["saves its work"] == "on SIGUSR1, every 10m 00s"
    assert said["deadline"].startswith(("2099-12-31", "2100-01-01"))


def test_a_job_that_says_nothing_of_it_is_as_it_was() -> None:
    spec = spec_of()
    assert (spec.pool, spec.deadline_ms, spec.checkpoint_signal, spec.checkpoint_s) == (
        "", None, "", None,
    )  # fmt: skip
    assert not any(value for _, value in turn_said(spec))


def test_a_deadline_may_be_so_long_from_now() -> None:
    now_ms = time.time_ns() // 1_000_000
    deadline_ms = spec_of("--deadline", "2h").deadline_ms
    assert deadline_ms is not None
    assert 0 <= deadline_ms - now_ms - 7_200_000 < 60_000


def test_a_deadline_that_is_no_instant_is_wrong_usage() -> None:
    with pytest.raises(click.BadParameter, match="not a length of time"):
        spec_of("--deadline", "soon")
