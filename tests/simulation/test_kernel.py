"""Is a simulated process like a real one: alone, killable anywhere, frozen and thawed?"""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation import loop
from tests.simulation.kernel import EXIT_CRASHED, EXIT_KILLED, Kernel, Process


def run(kernel: Kernel, until_s: float = 100.0) -> None:
    kernel.loop.run_until(lambda: False, until_s)


def test_hours_pass_in_moments_and_timers_fire_in_order() -> None:
    kernel, seen = Kernel(1), []

    async def wait(seconds: float) -> int:
        await asyncio.sleep(seconds)
        seen.append(kernel.loop.time())
        return 0

    for seconds in (7200.0, 1.5, 3600.0):
        kernel.spawn("p", lambda seconds=seconds: wait(seconds))
    run(kernel, 10_000)
    assert seen == [1.5, 3600.0, 7200.0]


@pytest.mark.parametrize("steps", range(1, 12))
def test_a_killed_process_runs_nothing_more_not_even_its_finally(steps: int) -> None:
    kernel, seen = Kernel(1), []

    async def child() -> None:
        await asyncio.sleep(1)
        seen.append("child")

    async def main() -> int:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(child())
                await asyncio.sleep(2)
                seen.append("main")
        finally:
            seen.append("finally")
        return 0

    exits: list[int | None] = []
    process = kernel.spawn("p", main, lambda p: exits.append(p.code))
    process.kill_after(steps)
    run(kernel)
    if exits == [EXIT_KILLED]:
        assert "finally" not in seen
    else:
        assert exits == [0]
        assert seen == ["child", "main", "finally"]
    assert not kernel.bugs


def test_what_is_due_to_a_frozen_process_happens_when_it_thaws() -> None:
    kernel, seen = Kernel(1), []

    async def main() -> int:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(kernel.loop.time())
        return 0

    process = kernel.spawn("p", main)
    kernel.loop.call_later(1.5, process.freeze, context=kernel.context)
    kernel.loop.call_later(60.0, process.thaw, context=kernel.context)
    run(kernel)
    assert seen == [1.0, 60.0, 61.0]


def test_a_process_that_raises_has_crashed_and_says_of_what() -> None:
    kernel, ended = Kernel(1), []

    async def main() -> int:
        raise ValueError("no")

    def note(process: Process) -> None:
        ended.append((process.code, str(process.error)))

    kernel.spawn("p", main, note)
    run(kernel)
    assert ended == [(EXIT_CRASHED, "no")]


def test_a_callback_that_fails_is_noted_with_its_process() -> None:
    kernel = Kernel(1)

    async def main() -> int:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)
        return 0

    kernel.spawn("scheduler-1", main)
    run(kernel)
    assert len(kernel.bugs) == 1
    assert kernel.bugs[0].startswith("scheduler-1: ")


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_a_world_in_which_time_stands_still_ends_and_names_the_busiest(
    monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    monkeypatch.setattr(loop, "STEPS_IN_WINDOW_MAX", 5_000)
    kernel = Kernel(1)

    async def hurry() -> int:
        await asyncio.sleep(30)
        for _ in range(1_000_000):
            await asyncio.sleep(pause_s)
        return 0

    kernel.spawn("hasty", hurry)
    with pytest.raises(loop.Spinning, match=r"steps from .* s to 3\d\..* s; .*hasty: .*hurry"):
        run(kernel, 3_600)


def test_a_world_that_is_busy_for_long_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_IN_WINDOW_MAX", 5_000)
    kernel, seen = Kernel(1), []

    async def work() -> int:
        for _ in range(36_000):
            await asyncio.sleep(0.1)
        seen.append(kernel.loop.time())
        return 0

    kernel.spawn("busy", work)
    run(kernel, 7_200)
    assert seen == [pytest.approx(3_600)]
