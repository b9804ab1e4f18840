"""Does a published cursor go back only when what it spoke of is lost?"""

from __future__ import annotations

import pytest

from penstock_runtime.cursors import publish_cursor, read_cursors
from runtime.conftest import Connect
from runtime.tally import INPUT, deposit

KEY = f"{INPUT}.other"


class SupersededError(Exception):
    """What a reader of ours raises."""


async def superseded() -> None:
    raise SupersededError


async def confirmed() -> None:
    """We are not."""


async def test_whoever_has_less_to_say_is_not_heard(connect: Connect) -> None:
    bus = await connect("a")
    for number in range(4):
        await deposit(bus, f"d{number}")
    assert await publish_cursor(bus, INPUT, "other", 4)
    assert await publish_cursor(bus, INPUT, "other", 3, confirm=superseded)
    assert (await read_cursors(bus))[KEY] == 4


async def test_a_lower_cursor_is_said_by_nobody_who_was_superseded(connect: Connect) -> None:
    bus = await connect("a")
    await publish_cursor(bus, INPUT, "other", 4)
    with pytest.raises(SupersededError):
        await publish_cursor(bus, INPUT, "other", 3, cut=True, confirm=superseded)
    assert (await read_cursors(bus))[KEY] == 4
    assert await publish_cursor(bus, INPUT, "other", 3, cut=True, confirm=confirmed)
    assert (await read_cursors(bus))[KEY] == 3


async def test_a_higher_cursor_needs_nobody_s_leave(connect: Connect) -> None:
    bus = await connect("a")
    await publish_cursor(bus, INPUT, "other", 4)
    assert await publish_cursor(bus, INPUT, "other", 5, cut=True, confirm=superseded)
    assert (await read_cursors(bus))[KEY] == 5


async def test_a_successor_that_speaks_after_we_were_confirmed_is_not_overwritten(
    connect: Connect,
) -> None:
    bus = await connect("a")
    await publish_cursor(bus, INPUT, "other", 4)

    async def confirmed_and_then_superseded() -> None:
        await publish_cursor(bus, INPUT, "other", 5)

    said = await publish_cursor(
        bus, INPUT, "other", 3, cut=True, confirm=confirmed_and_then_superseded
    )
    assert not said, "it is to be said again, and confirmed again"
    assert (await read_cursors(bus))[KEY] == 5
