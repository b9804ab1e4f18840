"""When are the coarse bugs hunted? From the start of the run, beside all the tests that wait.

Where several processes share the tests, by the one that asks. It does not know what they are, nor
what is made of the catches.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.mutations.hunt import Catch, hunt
from tests.mutations.table import FAST

FAST_SEEDS = "1-12"
SMALL = ("--hosts", "8", "--jobs", "80")
POOL = pytest.StashKey[ThreadPoolExecutor]()
HUNTS = pytest.StashKey[list[Future[Catch]]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any("catches" in getattr(item, "fixturenames", ()) for item in session.items)
    is_worker = hasattr(session.config, "workerinput")
    if wanted and not is_worker and not session.config.option.collectonly:
        _begin(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whoever broke the run off waits for one hunt at most."""
    pool = session.config.stash.get(POOL, None)
    if pool is not None:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def catches(pytestconfig: pytest.Config) -> dict[str, Catch]:
    """Of the coarse bugs."""
    if HUNTS not in pytestconfig.stash:
        _begin(pytestconfig)
    found = [future.result() for future in pytestconfig.stash[HUNTS]]
    return {catch.mutation.name: catch for catch in found}


def _begin(config: pytest.Config) -> None:
    spare_cores = max(1, len(os.sched_getaffinity(0)) - 1)
    pool = config.stash[POOL] = ThreadPoolExecutor(spare_cores)
    config.stash[HUNTS] = [
        pool.submit(hunt, mutation, seeds=FAST_SEEDS, options=SMALL) for mutation in FAST
    ]
