"""Does a writer that is killed again and again, at full speed, lose or double anything?"""

from __future__ import annotations

import multiprocessing
import random
import signal

import pytest

from metering.canonical import canonical
from metering.conftest import LedgerFactory
from metering.ingesting import Streams, ingest_streams
from metering.processes import a_long_story
from penstock_metering.rater import rate_all

LIFE_S = (0.0, 0.08)
"""How long a writer lives: opening the ledger takes some of it."""


def the_ledger_survives(make_ledger: LedgerFactory, runs: int, kills: int) -> None:
    world, sold = a_long_story(runs)
    expected = make_ledger()
    expected.take_all(world)
    expected.ingest.change(rate_all)
    killed = make_ledger()
    killed.database.close()
    died = die_often(killed.url, world.streams, kills)
    killed.reopen()
    killed.take_all(world)
    killed.ingest.change(rate_all)
    assert canonical(killed) == canonical(expected)
    balance = killed.balance(world)
    assert (balance.unaccounted_milli_ms, balance.milli_ms["sold"]) == (0, sold)
    assert died == kills


def die_often(url: str, streams: Streams, kills: int) -> int:
    """Processes that take the streams in, each killed after a moment. How many were killed before
    they were done."""
    chance = random.Random(kills)
    context = multiprocessing.get_context("fork")
    died = 0
    for _ in range(kills):
        process = context.Process(target=ingest_streams, args=(url, streams))
        process.start()
        process.join(chance.uniform(*LIFE_S))
        process.kill()
        process.join()
        died += process.exitcode == -signal.SIGKILL
    return died


def test_a_writer_killed_at_any_moment_loses_and_doubles_nothing(
    make_ledger: LedgerFactory,
) -> None:
    the_ledger_survives(make_ledger, runs=600, kills=25)


@pytest.mark.long
@pytest.mark.lesson(21)
def test_two_hundred_kills_during_ingest_lose_and_double_nothing(
    make_ledger: LedgerFactory,
) -> None:
    the_ledger_survives(make_ledger, runs=4_000, kills=200)
