"""Does `penstock top` heed keys and sizes, and give the terminal back as it was?"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import struct
import termios
from fcntl import ioctl

from client.conftest import Spawn
from client.mesh import FakeMesh
from client.overviews import Scene, answer
from penstock_client.cli import EXIT_INTERRUPTED


class Terminal:
    """One with `penstock top` on it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.output = b""

    def resize(self, columns: int, lines: int) -> None:
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> None:
        self.output += os.read(self.master, 65_536)

    async def until(self, wanted: bytes) -> None:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def on_output() -> None:
            self.read()
            arrived.set()

        loop.add_reader(self.master, on_output)
        try:
            async with asyncio.timeout(30):
                while wanted not in self.output:
                    await arrived.wait()
                    arrived.clear()
        finally:
            loop.remove_reader(self.master)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


async def test_on_a_terminal_it_stays_until_q_and_leaves_it_as_it_was(
    real_mesh: FakeMesh, spawn: Spawn
) -> None:
    await answer(real_mesh, Scene())
    terminal = Terminal()
    terminal.resize(80, 10)
    before = termios.tcgetattr(terminal.slave)
    slave = terminal.slave
    process = await spawn("top", stdin=slave, stdout=slave, stderr=slave)
    try:
        await terminal.until(b"lines more")
        assert b"\x1b[?1049h" in terminal.output
        assert b"serve" not in terminal.output, "there is no room for it"
        os.write(terminal.master, b"d")
        await terminal.until(b"GIB USED/ALL")
        os.write(terminal.master, b"h\x1b[6~")
        await terminal.until(b"serve")
        terminal.output = b""
        terminal.resize(200, 50)
        process.send_signal(signal.SIGWINCH)
        await terminal.until(b"WHERE")
        os.write(terminal.master, b"q")
        assert await process.wait() == 0
        await terminal.until(b"\x1b[?1049l")
        assert termios.tcgetattr(terminal.slave) == before
    finally:
        terminal.close()


async def test_ctrl_c_ends_it_too_and_leaves_the_terminal_as_it_was(
    real_mesh: FakeMesh, spawn: Spawn
) -> None:
    await answer(real_mesh, Scene())
    terminal = Terminal()
    terminal.resize(80, 24)
    before = termios.tcgetattr(terminal.slave)
    slave = terminal.slave
    process = await spawn("top", stdin=slave, stdout=slave, stderr=slave)
    try:
        await terminal.until(b"pretrain-7b")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == EXIT_INTERRUPTED
        await terminal.until(b"\x1b[?1049l")
        assert termios.tcgetattr(terminal.slave) == before
        assert b"Traceback" not in terminal.output
    finally:
        terminal.close()
