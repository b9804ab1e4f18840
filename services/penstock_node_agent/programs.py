"""How does the agent run a small program of the operator's and hear what it says?

With a time-out and a bound on its output, in a session of its own, all of which ends with it. It
does not know what the program is for; jobs are the reaper's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

OUTPUT_BYTES_MAX = 64 * 1024
"""Of what it says, the end counts; more is thrown away while it runs."""
INPUT_BYTES_MAX = 4096
"""As much as a pipe always takes at once."""
NOT_STARTED = (126, 127)
"""Exit codes that say nothing but that there is no such program, or none that can be run."""


class Ran(NamedTuple):
    """`code` None: it was ended after its time-out; minus a signal's number: by that. `output`: the
    end of stdout and stderr."""

    code: int | None
    output: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else ""


Hear = Callable[[str], None]


class Run(Protocol):
    """Never raises for what the program does; one that cannot be started has code 126 or 127."""

    async def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout_s: float,
        stdin: str = "",
        hear: Hear | None = None,
        *,
        daemon: bool = False,
    ) -> Ran: ...


async def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    timeout_s: float,
    stdin: str = "",
    hear: Hear | None = None,
    *,
    daemon: bool = False,
) -> Ran:
    """Run it to its end; when cancelled, its session is gone before this returns. `hear` is told
    what it says, as it says it. Of a `daemon` goes on what it leaves behind."""
    try:
        program = _Program(argv, env, stdin.encode()[:INPUT_BYTES_MAX], hear, daemon)
    except OSError as error:
        return Ran(NOT_STARTED[-1], f"{argv[0]}: {error.strerror}")
    code = None
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                code = await asyncio.shield(program.ended)
    finally:
        if not program.ended.done():
            program.kill()
        await asyncio.shield(program.ended)
    return Ran(code, program.said.decode("utf-8", "replace"))


class _Program:
    """One that runs. `ended`: its exit code, once it has; `said`: the end of its output."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: bytes,
        hear: Hear | None,
        daemon: bool,
    ) -> None:
        self._daemon = daemon
        self._loop, self._tell = asyncio.get_running_loop(), hear
        self.said = bytearray()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._out, into = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._out, False)  # ours alone: the program may wait until there is room
        source, feed = os.pipe2(os.O_CLOEXEC)
        try:
            os.write(feed, stdin)
            os.close(feed)
            self._pid = os.posix_spawnp(
                (path := _mortal(argv))[0],
                path,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, into, 1),
                    (os.POSIX_SPAWN_DUP2, into, 2),
                ],
                setsid=True,
            )
        except OSError:
            os.close(self._out)
            raise
        finally:
            os.close(source)
            os.close(into)
        self._process = os.pidfd_open(self._pid)
        self._loop.add_reader(self._out, self._hear)
        self._loop.add_reader(self._process, self._wait)

    def kill(self) -> None:
        """Its session, so that nothing it has started stays on a device."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while piece := os.read(self._out, OUTPUT_BYTES_MAX):
                self.said += piece
                if self._tell is not None:
                    self._tell(piece.decode("utf-8", "replace"))
                del self.said[:-OUTPUT_BYTES_MAX]
            self._loop.remove_reader(self._out)  # nobody can write any more

    def _wait(self) -> None:
        self._hear()
        self._loop.remove_reader(self._out)
        self._loop.remove_reader(self._process)
        if not self._daemon:
            self.kill()  # while nobody else can have its number
        _, status = os.waitpid(self._pid, 0)
        os.close(self._process)
        os.close(self._out)
        self.ended.set_result(os.waitstatus_to_exitcode(status))


def _mortal(argv: Sequence[str]) -> tuple[str, ...]:
    """It ends with the agent, also when that is killed, where the host has the means."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--", *argv) if setpriv else tuple(argv)
