"""Does a writer that is killed again and again, at full speed, lose or double anything?"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal

import pytest

from metering.canonical import canonical
from metering.conftest import LedgerFactory
from metering.ingesting import Streams, ingest_streams
from metering.processes import a_long_story

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12
COMMITS_MAX = 3
REST_S_MAX = 0.008
"""A writer lives for some commits and a little longer: about as long as one takes."""


def the_ledger_survives(make_ledger: LedgerFactory, runs: int, kills: int) -> None:
    world, sold = a_long_story(runs)
    expected = make_ledger()
    expected.take_all(world)
    killed = make_ledger()
    killed.database.close()
    assert die_often(killed.url, world.streams, kills) == kills
    killed.reopen()
    killed.take_all(world)
    assert canonical(killed) == canonical(expected)
    balance = killed.balance(world)
    assert (balance.unaccounted_milli_ms, balance.milli_ms["sold"]) == (0, sold)


def die_often(url: str, streams: Streams, kills: int) -> int:
    """Processes that take the streams in, each killed after a while. How many were killed before
    they were done."""
    chance = random.Random(kills)
    context = multiprocessing.get_context("fork")
    died = 0
    for _ in range(kills):
        heard, said = os.pipe()
        process = context.Process(target=ingest_streams, args=(url, streams, said))
        process.start()
        os.close(said)
        for _ in range(chance.randint(0, COMMITS_MAX)):
            os.read(heard, 1)
        process.join(chance.uniform(0, REST_S_MAX))
        process.kill()
        process.join()
        os.close(heard)
        died += process.exitcode == -signal.SIGKILL
    return died


def test_a_writer_killed_at_any_moment_loses_and_doubles_nothing(
    make_ledger: LedgerFactory,
) -> None:
    the_ledger_survives(make_ledger, runs=300, kills=20)


@pytest.mark.long
@pytest.mark.lesson(21)
def test_two_hundred_kills_during_ingest_lose_and_double_nothing(
    make_ledger: LedgerFactory,
) -> None:
    the_ledger_survives(make_ledger, runs=3_000, kills=200)
