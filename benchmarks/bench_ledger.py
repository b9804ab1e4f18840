"""How many usage segments a second does the ledger take, each exactly once?

A fleet's agents have sent their usage: every node one message a minute, with a segment and a
counter of each of its devices. The writer that metering runs takes them into an empty database, as
much in one transaction as arrives meanwhile when it is behind, one in twenty a second time later
on, and is then asked what it holds. On SQLite, and on PostgreSQL where that is installed. Decoding,
checks, marks for what is derived and commits to disk are in the time; the broker is not. For the
record: `python benchmarks/bench_ledger.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import sqlalchemy as sa
from measure.report import emit, say

from penstock_bus.port import StoredMessage
from penstock_contracts.ids import ulid
from penstock_contracts.usage import DeviceCounter, Segment, UsageBatch
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import USAGE, open_ledger

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
BATCH_BYTES = 4 * 1024 * 1024
REPEATED_PERCENT = 5
"""So many messages come twice, as after a lost acknowledgement."""
START_S_MAX = 30.0


def fleet_usage(nodes: int, devices: int, minutes: int) -> Iterator[StoredMessage]:
    """What every node says, minute after minute; each device runs one long job."""
    jobs = [[ulid(START_MS, n * devices + d) for d in range(devices)] for n in range(nodes)]
    uuids = [[f"GPU-{n:08x}-0000-4000-8000-{d:012x}" for d in range(devices)] for n in range(nodes)]
    for minute in range(minutes):
        t0_ms = START_MS + minute * MINUTE_MS
        for node in range(nodes):
            yield _message(minute * nodes + node + 1, node, minute, t0_ms, jobs[node], uuids[node])


def _message(
    place: int, node: int, minute: int, t0_ms: int, jobs: list[str], uuids: list[str]
) -> StoredMessage:
    name, upto_ms = f"node-{node:05}", t0_ms + MINUTE_MS
    segments = tuple(
        Segment(
            lease_seq=node * len(uuids) + index + 1,
            job_id=job_id,
            tenant=f"tenant-{node % 10}",
            attempt=1,
            rank=0,
            seq=minute,
            t0_ms=t0_ms,
            t1_ms=upto_ms,
            devices=(uuid,),
            cpu_milli=8_000,
            energy_mj=18_000_000 + minute,
            used_milli_ms=(50_000_000 + minute,),
            device_energy_mj=(18_000_000 + minute,),
        )
        for index, (job_id, uuid) in enumerate(zip(jobs, uuids, strict=True))
    )
    ran = (minute + 1) * MINUTE_MS * 1_000
    counters = tuple(DeviceCounter(uuid, START_MS, upto_ms, ran) for uuid in uuids)
    said = UsageBatch(name, "boot-1", minute + 1, segments, counters)
    payload = msgspec.json.encode(said)
    return StoredMessage(f"penstock.v1.usage.{name}", payload, place, upto_ms * 1_000_000)


def repeated(messages: list[StoredMessage]) -> list[StoredMessage]:
    """Every so many of them stand in the stream a second time, later."""
    every = 100 // REPEATED_PERCENT
    found = []
    for index, message in enumerate(messages):
        found.append(message)
        if index % every == 0:
            found.append(messages[index // 2])
    return [msgspec.structs.replace(message, seq=n) for n, message in enumerate(found, 1)]


def batches(messages: list[StoredMessage]) -> Iterator[list[StoredMessage]]:
    taken: list[StoredMessage] = []
    size = 0
    for message in messages:
        taken.append(message)
        size += len(message.payload)
        if size > BATCH_BYTES:
            yield taken
            taken, size = [], 0
    if taken:
        yield taken


def measure(kind: str, url: str, messages: list[StoredMessage], segments: int) -> None:
    database = Database(url)
    ingest = open_ledger(database, Writer(name="benchmark"))
    slowest_s = 0.0
    began, cpu = time.perf_counter(), time.process_time()
    for batch in batches(messages):
        before = time.perf_counter()
        ingest.commit({USAGE: batch})
        slowest_s = max(slowest_s, time.perf_counter() - before)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    stored, milli_ms = _held(database)
    database.close()
    exact = (stored, milli_ms) == (segments, segments * MINUTE_MS * 1_000)
    emit(
        bench="ledger",
        database=kind,
        segments=segments,
        repeated=ingest.totals.repeated,
        stored=stored,
        exactly_once=exact,
        commits=ingest.totals.commits,
        segments_per_s=round(segments / took_s),
        cpu_us_per_segment=round(cpu_s / segments * 1e6, 1),
        longest_commit_ms=round(slowest_s * 1_000),
    )
    if not exact:
        sys.exit("the ledger does not hold each segment once")


def _held(database: Database) -> tuple[int, int]:
    lines = schema.ledger_lines.c
    with database.reading.begin() as connection:
        stored = connection.execute(
            sa.select(sa.func.count()).select_from(schema.raw_segments)
        ).scalar_one()
        milli_ms = connection.execute(
            sa.select(sa.func.sum(lines.milli * (lines.t1_ms - lines.t0_ms)))
        ).scalar_one()
    return stored, int(milli_ms)


@contextmanager
def a_postgresql() -> Iterator[str | None]:
    """The URL of a server of our own with its usual durability; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    postgres = shutil.which("postgres") or (str(found[-1]) if found else None)
    if postgres is None:
        yield None
        return
    user = "nobody" if os.getuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="penstock-pg-", dir="/tmp"))
    quiet = {"user": user, "cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if user:
        shutil.chown(directory, user)
    data, initdb = directory / "data", Path(postgres).with_name("initdb")
    made = [str(initdb), "-D", str(data), "-U", "penstock", "-A", "trust", "-N"]
    subprocess.run(made, check=True, **quiet)  # type: ignore[call-overload]
    argv = [postgres, "-D", str(data), "-k", str(directory), "-c", "listen_addresses="]
    server = subprocess.Popen(argv, **quiet)  # type: ignore[call-overload]
    try:
        socket, deadline = directory / ".s.PGSQL.5432", time.monotonic() + START_S_MAX
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"postgresql://penstock@/postgres?host={directory}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    asked = parser.parse_args()
    segments = asked.nodes * asked.devices * asked.minutes
    say(f"{segments} segments of {asked.nodes} nodes")
    messages = repeated(list(fleet_usage(asked.nodes, asked.devices, asked.minutes)))
    if asked.only != "postgresql":
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
            measure("sqlite", f"sqlite:///{directory}/ledger.sqlite", messages, segments)
    if asked.only != "sqlite":
        with a_postgresql() as url:
            if url is None:
                say("PostgreSQL is not installed: not measured")
            else:
                measure("postgresql", url, messages, segments)


if __name__ == "__main__":
    main()
