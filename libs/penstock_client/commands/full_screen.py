"""How does a program have a whole terminal to itself, and give it back as it was?

An alternate screen, keys as they are pressed, and a word when its size changes. It does not know
what is shown there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
LEAVE = "\x1b[?25h\x1b[?1049l"
HOME, CLEAR_LINE, CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
KEYS_BYTES_MAX = 1024
ESCAPES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
}

UNKNOWN_SIZE = (80, 24)


class FullScreen:
    """`on_change`: called for each key by its letter or name, and with "" for a new size."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._input = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: Any = None

    def __enter__(self) -> FullScreen:
        loop = asyncio.get_running_loop()
        if self._input is not None:
            self._before = termios.tcgetattr(self._input)
            tty.setcbreak(self._input)
            loop.add_reader(self._input, self._read)
        loop.add_signal_handler(signal.SIGWINCH, self._on_change, "")
        _write(ENTER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGWINCH)
        with suppress(OSError):  # the terminal may have gone
            _write(LEAVE)
        if self._input is not None:
            loop.remove_reader(self._input)
            with suppress(termios.error):
                termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def size(self) -> tuple[int, int]:
        """Columns and lines, of the terminal itself: COLUMNS and LINES know nothing of a resize."""
        size = os.get_terminal_size(sys.stdout.fileno())
        return size if size.columns and size.lines else UNKNOWN_SIZE

    def draw(self, lines: Sequence[str]) -> None:
        """In one write, so that nothing flickers."""
        _write(HOME + f"{CLEAR_LINE}\r\n".join(lines) + CLEAR_LINE + CLEAR_REST)

    def _read(self) -> None:
        if self._input is None:
            return
        try:
            text = os.read(self._input, KEYS_BYTES_MAX).decode("utf-8", "replace")
        except OSError:
            text = ""
        if not text:  # nobody is there any more
            asyncio.get_running_loop().remove_reader(self._input)
            self._on_change("q")
        while text:
            escape = next((escape for escape in ESCAPES if text.startswith(escape)), "")
            self._on_change(ESCAPES.get(escape, text[0]))
            text = text[len(escape) or 1 :]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
