"""Who leads, and how soon does the next one begin?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_runtime.clock import SystemClock, VirtualClock
from penstock_runtime.leadership import (
    BUCKET,
    Holder,
    Leadership,
    is_gone,
    start_of_process,
    this_process,
)
from runtime.conftest import Connect

REPLACE = msgspec.structs.replace
ELSEWHERE = Holder(writer="elsewhere", host="another-boot/pid:[1]", pid=1, pid_start=1)


def a_lock(bus: Any, holder: Holder, **options: Any) -> Leadership:
    options = {"clock": SystemClock(), "silence_s": 60.0, "refresh_s": 0.02} | options
    return Leadership(bus, service="s", us=holder, **options)


def never() -> bool:
    return False


async def test_the_first_one_leads_at_once_and_the_second_waits(connect: Connect) -> None:
    bus = await connect("a")
    first, second = a_lock(bus, this_process("one")), a_lock(bus, ELSEWHERE)
    assert await first.acquire(never)
    waiting = asyncio.create_task(second.acquire(never))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done
    assert second.holder is not None and second.holder.writer == "one"
    await first.release()
    assert await waiting


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


async def test_a_holder_whose_process_is_gone_is_replaced_at_once(
    connect: Connect, child: subprocess.Popen[bytes], eventually: Eventually
) -> None:
    bus = await connect("a")
    started = start_of_process(child.pid)
    assert started is not None
    dead = REPLACE(this_process("dead"), pid=child.pid, pid_start=started)
    us = this_process("us")
    assert not is_gone(dead, us)
    assert await a_lock(bus, dead).acquire(never)
    child.kill()
    await eventually(lambda: is_gone(dead, us))
    begun = asyncio.get_running_loop().time()
    assert await a_lock(bus, us).acquire(never)
    assert asyncio.get_running_loop().time() - begun < 0.5


def test_a_process_with_the_same_pid_but_another_start_is_not_the_holder() -> None:
    us = this_process("us")
    assert is_gone(REPLACE(us, pid_start=us.pid_start - 1), us)
    assert not is_gone(us, us)
    assert not is_gone(REPLACE(us, host="another-boot/pid:[1]", pid_start=0), us)
    assert us.pid == os.getpid()


async def test_a_silent_holder_is_replaced_after_its_time_on_the_waiters_clock(
    twin: Connect, eventually: Eventually
) -> None:
    bus, clock = await twin("a"), VirtualClock()
    assert await a_lock(bus, ELSEWHERE).acquire(never)
    second = a_lock(bus, this_process("us"), clock=clock, silence_s=3.0)
    waiting = asyncio.create_task(second.acquire(never))
    await eventually(lambda: second.holder is not None)
    clock.advance(2_900_000_000)
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done
    clock.advance(200_000_000)
    assert await waiting


async def test_a_holder_that_refreshes_is_never_replaced_and_one_that_lost_is_told(
    twin: Connect, eventually: Eventually
) -> None:
    bus, clock = await twin("a"), VirtualClock()
    first = a_lock(bus, ELSEWHERE)
    assert await first.acquire(never)
    holding = asyncio.create_task(first.hold())
    second = a_lock(bus, this_process("us"), clock=clock, silence_s=3.0)
    waiting = asyncio.create_task(second.acquire(never))
    for _ in range(3):
        before = (await bus.kv_get(BUCKET, "s")).revision

        async def refreshed(seen: int = before) -> bool:
            return bool((await bus.kv_get(BUCKET, "s")).revision > seen)

        await eventually(refreshed)
        clock.advance(2_000_000_000)
    assert not waiting.done()
    await bus.kv_put(BUCKET, "s", msgspec.json.encode(REPLACE(ELSEWHERE, writer="usurper")))
    assert await holding == "usurper"
    waiting.cancel()


async def test_a_refresh_whose_answer_was_lost_is_recognised_as_our_own(
    twin: Connect, eventually: Eventually
) -> None:
    bus = await twin("a")
    lock = a_lock(bus, ELSEWHERE)
    assert await lock.acquire(never)
    await bus.kv_put(BUCKET, "s", msgspec.json.encode(ELSEWHERE))  # landed, but we never heard
    holding = asyncio.create_task(lock.hold())
    revision = (await bus.kv_get(BUCKET, "s")).revision

    async def refreshed() -> bool:
        return bool((await bus.kv_get(BUCKET, "s")).revision > revision + 1)

    await eventually(refreshed)
    assert not holding.done()
    holding.cancel()


async def test_rubbish_in_the_lock_keeps_nobody_from_starting(twin: Connect) -> None:
    bus = await twin("a")
    await bus.kv_put(BUCKET, "s", b"rubbish")
    assert await a_lock(bus, ELSEWHERE).acquire(never)


async def test_a_waiter_asked_to_stop_gives_up_also_while_the_broker_is_away(
    twin: Connect, broker: MemoryBroker
) -> None:
    bus = await twin("a")
    broker.crash()
    asked = iter([False, False, True])
    assert await a_lock(bus, ELSEWHERE).acquire(lambda: next(asked)) is False
    broker.start()
