"""What is going on in the mesh, live in the terminal?

The command top. It does not know where its facts come from, nor how a page is laid out.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.commands.full_screen import FullScreen
    from penstock_client.commands.layout import Line
    from penstock_client.overview import Overview
    from penstock_client.watching import Watching

CODES = {"bold": "1", "dim": "2", "good": "32", "warm": "33", "bad": "1;31", "head": "1;2"}
RESET = "\x1b[0m"
REST = 4
"""Of the time at least, no question is under way: a large mesh is asked less often."""
PIPE_COLUMNS = 120
KEYS = "q quit  d devices  h hosts, jobs  ↑ ↓ PgUp PgDn scroll"


@click.command()
@click.option("--once", is_flag=True, help="Print one page and end, as where there is no terminal.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.option("--devices", is_flag=True, help="Begin with a line per device.")
@mesh_options
def top(access: Access, once: bool, interval_s: float, devices: bool) -> int:
    """Show hosts, devices and jobs as they are now, again and again, until q is pressed."""
    from penstock_client.commands.top_page import DEVICES, HOSTS

    shown = Shown(DEVICES if devices else HOSTS)

    async def watch(client: Client) -> None:
        from penstock_client.commands.full_screen import FullScreen
        from penstock_client.watching import Watching

        async with Watching(client) as watching:
            if access.as_json:
                await _print_json(watching, once, interval_s)
            elif once or not sys.stdout.isatty():
                await _print_page(watching, shown)
            else:
                with FullScreen(shown.change) as screen:
                    await _show(watching, shown, screen, interval_s)

    access.run(watch)
    return 0


class Shown:
    """What the user looks at: which view, from which line on, and whether still."""

    def __init__(self, view: str) -> None:
        self.view, self.first = view, 0
        self.ended = False
        self.page_lines = 1
        self.changed = asyncio.Event()

    def change(self, key: str) -> None:
        """A key was pressed; "" = the size has changed."""
        from penstock_client.commands.top_page import DEVICES, HOSTS

        step = {"up": -1, "k": -1, "down": 1, "j": 1}.get(key, 0)
        step += {"page up": -self.page_lines, "page down": self.page_lines}.get(key, 0)
        self.first = max(0, self.first + step)
        if key in ("home", "g"):
            self.first = 0
        elif key in ("d", "h"):
            self.view, self.first = DEVICES if key == "d" else HOSTS, 0
        self.ended = self.ended or key in ("q", "Q")
        self.changed.set()


async def _show(watching: Watching, shown: Shown, screen: FullScreen, interval_s: float) -> None:
    """Until q is pressed."""
    loop = asyncio.get_running_loop()
    overview: Overview | None = None
    looking: asyncio.Task[Overview] | None = None
    began_s, due_s = 0.0, loop.time()
    pressed = asyncio.ensure_future(shown.changed.wait())
    try:
        while not shown.ended:
            if looking is None and loop.time() >= due_s:
                began_s = loop.time()
                looking = asyncio.ensure_future(watching.look(_now_ms()))
            waited: list[asyncio.Future[Any]] = [pressed]
            if looking is not None:
                waited.append(looking)
            timeout_s = None if looking is not None else max(0.0, due_s - loop.time())
            await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if looking is not None and looking.done():
                overview, looking = looking.result(), None
                took_s = loop.time() - began_s
                due_s = loop.time() + max(interval_s - took_s, REST * took_s)
            if pressed.done():
                shown.changed.clear()
                pressed = asyncio.ensure_future(shown.changed.wait())
            if overview is not None:
                _draw(overview, shown, screen)
    finally:
        for task in (pressed, looking):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(t for t in (pressed, looking) if t), return_exceptions=True)


def _draw(overview: Overview, shown: Shown, screen: FullScreen) -> None:
    from penstock_client.commands.top_page import page_of

    columns, lines = screen.size()
    head, body = page_of(overview, shown.view, columns)
    room = max(1, lines - len(head) - 1)
    shown.page_lines = room
    shown.first = min(shown.first, max(0, len(body) - room))
    visible = body[shown.first : shown.first + room]
    visible += [()] * (room - len(visible))
    below = len(body) - room - shown.first
    right = f"{f'{below} lines more  ' if below > 0 else ''}{time.strftime('%H:%M:%S')}"
    left = KEYS[: max(0, columns - len(right) - 2)]
    footer = f"{left:{max(0, columns - len(right))}}{right}"[:columns]
    colours = "NO_COLOR" not in os.environ
    screen.draw([*_texts([*head, *visible], colours), _styled(footer, "dim", colours)])


async def _print_page(watching: Watching, shown: Shown) -> None:
    from penstock_client.commands.top_page import page_of

    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns
    overview = await watching.look(_now_ms())
    colours = terminal and "NO_COLOR" not in os.environ
    page = page_of(overview, shown.view, columns)
    for line in _texts([*page.head, *page.body], colours):
        click.echo(line.rstrip(), color=colours)


async def _print_json(watching: Watching, once: bool, interval_s: float) -> None:
    """A document, readable; without --once a line each time."""
    import msgspec

    from penstock_client.commands.tables import print_json

    overview = await watching.look(_now_ms())
    if once:
        print_json(overview)
        return
    while True:
        click.echo(msgspec.json.encode(overview).decode())
        await asyncio.sleep(interval_s)
        overview = await watching.look(_now_ms())


def _texts(lines: Sequence[Line], colours: bool) -> list[str]:
    return ["".join(_styled(p.text, p.style, colours) for p in line) for line in lines]


def _styled(text: str, style: str, colours: bool) -> str:
    code = CODES.get(style, "")
    return f"\x1b[{code}m{text}{RESET}" if colours and code else text


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
