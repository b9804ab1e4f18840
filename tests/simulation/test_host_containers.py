"""Does a simulated host tell what really ran in a container on it, whoever dies meanwhile?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from penstock_contracts.leases import Exited
from penstock_node_agent.workplace.containers import Podman, PodmanSettings
from tests.checkers.containers import check_containers
from tests.simulation.host_podman import RUN_S
from tests.simulation.host_story import Story
from tests.simulation.kernel import Process
from tests.simulation.workload import IMAGES, UNKNOWN_IMAGE, Script

IMAGE = IMAGES[0]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What agents log about faults that were asked for is of no use here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _nothing_left(story: Story) -> None:
    podman = story.host.podman
    assert podman is not None
    assert (podman.ours(), podman.foreign_gone()) == ((), ())


def test_a_job_in_a_container_is_told_as_it_was() -> None:
    story = Story(image=IMAGE)
    story.assert_told_as_it_was()
    assert story.runs[0].contained
    _nothing_left(story)


def test_a_container_outlives_reapers_that_die_and_its_end_is_told() -> None:
    for seconds in (24, 40, 60, 80):

        def strike(story: Story, after_s: int = seconds) -> None:
            for later in (0.0, 0.7, 5.0):
                story.kernel.loop.call_later(after_s + later, story.host.kill_reaper)

        story = Story(strike, image=IMAGE)
        assert story.runs[0].survives
        story.assert_told_as_it_was()
        _nothing_left(story)


def test_a_reaper_that_dies_while_a_container_begins_leaves_none_and_invents_no_end() -> None:
    reasons = set()
    for seed in range(1, 13):
        story = Story(
            lambda story: _when_pulled(story, story.host.kill_reaper), image=IMAGE, seed=seed
        )
        told = story.told(Exited)
        reasons.add(told.reason)
        assert told.reason == "lost" or (told.reason, told.exit_code) == ("exited", 3)
        assert len(story.runs) <= 1
        _nothing_left(story)
    assert "lost" in reasons


def _when_pulled(story: Story, strike: object) -> None:
    """Moments after `podman run` was called."""
    podman = story.host.podman
    assert podman is not None and callable(strike)
    start = podman.start

    def struck(*arguments: object) -> None:
        start(*arguments)  # type: ignore[arg-type]
        if arguments[-1] is not RUN_S:
            return
        podman.start = start  # type: ignore[method-assign]
        story.kernel.loop.call_later(story.kernel.rng.uniform(0.05, 0.6), strike)

    podman.start = struck  # type: ignore[method-assign,assignment]


def test_an_image_that_is_nowhere_is_the_jobs_fault_and_nothing_runs() -> None:
    story = Story(image=UNKNOWN_IMAGE)
    assert story.told(Exited).reason == "prepare_failed"
    assert story.runs == []


def test_who_is_killed_over_its_limit_is_told_so() -> None:
    story = Story(image=IMAGE, script=Script(run_s=5, out_of_memory=True))
    assert story.told(Exited).reason == "out_of_memory"
    assert check_containers(story.history) == []


def test_everybody_who_waits_for_an_image_may_go() -> None:
    """How the pull ends is then heard by nobody, and no error of the agent's."""
    story = Story(image=IMAGE)
    store, kernel = story.host.podman, story.kernel
    assert store is not None
    podman = Podman(PodmanSettings(), store.owner, store.ask, story.host.disk, "/state")

    async def wait() -> int:
        pull = asyncio.ensure_future(podman.pull(UNKNOWN_IMAGE, "missing", lambda step: None))
        await asyncio.sleep(0.4)
        pull.cancel()
        await asyncio.sleep(60.0)
        return 0

    process: Process = kernel.spawn("agent", wait)
    kernel.loop.run_until(lambda: not process.alive, kernel.loop.time() + 100)
    assert not process.alive
    assert kernel.bugs == []
