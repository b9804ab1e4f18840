"""What really ran, as the jobs themselves and the kernel say?

Listens for the jobs' processes: each says who it is when it starts, how much it wrote once it has
written, and when it ends; the end of its connection tells when it is gone, also when it was killed.
Of one that was killed before it had written nobody knows how much it did. Every line goes to a file
at once. It does not know what should have run.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.checkers.history import Run

OUT = {"stdout": "out", "stderr": "err"}


class Witness:
    """`runs` in the order of their starts. `path`: the socket that jobs are told."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "witness.sock"
        self.runs: list[Run] = []
        self._file = open(directory / "runs.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._listen, self.path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._file.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        run = run_of(msgspec.json.decode(first))
        self.runs.append(run)
        self._file.write(first)
        wrote = await reader.readline()
        if wrote:
            run.written = msgspec.json.decode(wrote)["wrote"]
            whole, took = run.output, run.written
            run.output = {stream: whole[stream][: took[stream]] for stream in whole}
        run.output_lost = not wrote
        last = await reader.read()
        gone = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        run.ended_ns = run.ended_boot_ns = gone
        if last:
            end = msgspec.json.decode(last)
            run.ended_ns = run.ended_boot_ns = end["ended"]
            run.exit_code, run.ended_by = end["code"], "itself"
        else:
            run.signal, run.ended_by = signal.SIGKILL, "reaper"
        line = {"job": run.job_id, "attempt": run.attempt, "rank": run.rank, "gone": gone}
        self._file.write(msgspec.json.encode(line) + wrote.rstrip() + (last or b"\n"))
        writer.close()


def run_of(said: dict[str, Any]) -> Run:
    lease = said["lease"]
    texts = {stream: f"{word} {lease}\n".encode() for stream, word in OUT.items()}
    return Run(
        node=said["node"],
        boot_id="",
        tenant=said["tenant"],
        job_id=said["job"],
        attempt=said["attempt"],
        rank=said["rank"],
        began_ns=said["began"],
        began_boot_ns=said["began"],
        lease_seq=int(lease.split("/")[0]),
        devices=devices_of(said["node"], said["devices"]),
        written={stream: len(text) for stream, text in texts.items()},
        output=texts,
        waited=True,
    )


def devices_of(node: str, visible: str) -> tuple[str, ...]:
    """The simulated driver names a device by its index."""
    return tuple(f"SIM-{node}-{index}" for index in visible.split(",") if index)
