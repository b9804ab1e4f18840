"""What do usage messages, damaged journal entries and questions of any kind do to metering?

Usage alone at speed, and everything together into a real ledger file: what is not believed stands
in quarantine and nowhere else, and the process goes on. It does not know the bus.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from fuzz.mutation import Given
from fuzz.runner import Violation
from metering.conftest import Ledger
from metering.world import START_MS, World
from penstock_bus.port import StoredMessage
from penstock_contracts.bounds import BIGINT_MAX
from penstock_contracts.errors import MALFORMED
from penstock_contracts.usage import DeviceCounter, Segment, UsageBatch
from penstock_metering.core.segments import read_usage
from penstock_metering.ledger import schema
from penstock_metering.ledger.ingest import JOBS, NODES, USAGE

MEMORY = Path("/dev/shm")
"""Thousands of commits need not wait for a disk."""
NOT_STATE = {"cursors", "quarantine", "anomalies", "usage_batches", "writers"}
"""How far was read, and what was not believed."""
_decode = msgspec.json.Decoder(UsageBatch).decode


@cache
def story() -> tuple[World, dict[str, int]]:
    """A small mesh's streams, and how much of each the prepared ledger has read."""
    world = World()
    world.a_node("n1", 4)
    world.a_node("n2", 2, "boot-2")
    world.a_run("n1", ("SIM-n1-0",))
    running = world.submit(tenant="acme", gpus=1)
    world.grant(running, ("n1", ("SIM-n1-1",)))
    world.start(running)
    world.pass_ms(500)
    world.cut(running)
    world.agents["n1"].send()
    world.agents["n2"].send()
    read = {stream: len(messages) for stream, messages in world.streams.items()}
    gang = world.submit(ranks=2, gpus=1)
    world.grant(gang, ("n1", ("SIM-n1-2",)), ("n2", ("SIM-n2-0",)))
    world.start(gang)
    world.pass_ms(700)
    world.cut(gang)
    for name in ("n1", "n2"):
        world.agents[name].send()
    world.exit(running)
    world.release(running)
    world.finish(running)
    world.pass_ms(10)
    world.lose(gang)
    world.reboot("n2", "boot-3", [gang])
    world.agents["n1"].send()
    return world, read


def words() -> tuple[str | int, ...]:
    world, _ = story()
    found: list[str | int] = ["n1", "n2", "boot-1", "boot-2", "boot-3", "acme", "default", "other"]
    found += [device for agent in world.agents.values() for device in agent.devices]
    found += [0, 1, 2, 3, 4, 5, 6, 7, START_MS, START_MS + 500, START_MS + 1_000, 500, 250, 1_000]
    for message in world.streams[USAGE]:
        found += [segment.job_id for segment in _decode(message.payload).segments]
    return tuple(found)


class Usage:
    """`usage.<node>` by itself."""

    name = "metering usage"
    messages = ("node_usage",)
    pure = True

    def __init__(self) -> None:
        self.words: Sequence[str | int] = words()

    def reset(self) -> None:
        """Nothing is remembered."""

    def digest(self) -> object:
        return None

    def valid(self) -> Sequence[Given]:
        world, _ = story()
        segment = Segment(
            lease_seq=2, job_id=str(self.words[-1]), tenant="acme", attempt=1, rank=0, seq=1,
            t0_ms=START_MS, t1_ms=START_MS + 5, devices=("SIM-n1-0",), gpu_milli=500, cpu_milli=9,
            energy_mj=7, last=True,
        )  # fmt: skip
        counter = DeviceCounter("SIM-n1-0", START_MS, START_MS + 5, 5_000)
        whole = UsageBatch("n1", "boot-1", 9, (segment, segment), (counter,))
        return [
            *(Given(message.subject, message.payload) for message in world.streams[USAGE]),
            Given("penstock.v1.usage.n1", msgspec.json.encode(whole)),
        ]

    def give(self, given: Given) -> bool:
        node = given.subject.rpartition(".")[2]
        try:
            said = _decode(given.payload)
        except MALFORMED:
            return False
        message, rejected = read_usage(7, node, said)
        for fault in rejected:
            if not fault.reason or fault.stream != USAGE:
                raise Violation(f"quarantined without a reason: {fault}")
        if message is None:
            return False
        if not message.node == said.node == node:
            raise Violation(f"{node} is counted for {message.node}")
        for posting in message.postings:
            numbers = (
                *posting.key[::2],
                posting.key[3],
                posting.milli,
                posting.t0_ms,
                posting.t1_ms,
            )
            if not all(0 <= number <= BIGINT_MAX for number in numbers):
                raise Violation(f"{posting} holds a number that no table takes")
            if posting.t0_ms > posting.t1_ms or posting.milli > 1_000_000_000:
                raise Violation(f"{posting} cannot be true")
        return not rejected


class IntoLedger:
    """All three streams, each message a transaction of its own. A subject says which stream."""

    name = "metering ledger"
    messages = ("node_usage", "jobs_journal", "nodes_journal")
    pure = False

    def __init__(self) -> None:
        self.words: Sequence[str | int] = words()
        memory = MEMORY if MEMORY.is_dir() else None
        self._directory = Path(tempfile.mkdtemp(prefix="penstock-fuzz-", dir=memory))
        world, read = story()
        prepared = self._directory / "prepared"
        prepared.mkdir()
        ledger = Ledger(prepared)
        ledger.take({name: messages[: read[name]] for name, messages in world.streams.items()})
        ledger.database.close()
        self._read = read
        self._prepared = prepared
        self._ledger: Ledger | None = None

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            raise RuntimeError("not reset yet")
        return self._ledger

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.database.close()
        shutil.rmtree(self._directory)

    def reset(self) -> None:
        if self._ledger is not None:
            self._ledger.database.close()
        work = self._directory / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._prepared, work)
        self._ledger = Ledger(work)
        self.seqs = dict(self._read)

    def digest(self) -> object:
        with self.ledger.database.reading.begin() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(sa.select(table))))
                for table in schema.metadata.sorted_tables
                if table.name not in NOT_STATE
            }

    def valid(self) -> Sequence[Given]:
        world, _ = story()
        return [
            Given(message.subject, message.payload)
            for stream in (USAGE, JOBS, NODES)
            for message in world.streams[stream]
        ]

    def give(self, given: Given) -> bool:
        stream = _stream_of(given.subject)
        if stream is None:
            return False
        self.seqs[stream] += 1
        message = StoredMessage(given.subject, given.payload, self.seqs[stream], 1)
        ingest = self.ledger.ingest
        before = (ingest.totals.unreadable, ingest.totals.quarantined)
        ingest.commit({stream: [message]})
        if ingest.cursors[stream] != self.seqs[stream]:
            raise Violation("the message is not counted as read")
        if stream == USAGE:
            return self._was_believed(message)
        return ingest.totals.unreadable == before[0]

    def _was_believed(self, message: StoredMessage) -> bool:
        try:
            said = _decode(message.payload)
        except MALFORMED:
            return False
        return read_usage(message.seq, message.subject.rpartition(".")[2], said)[0] is not None


def _stream_of(subject: str) -> str | None:
    tokens = subject.split(".")
    if tokens[:3] == ["penstock", "v1", "usage"] and len(tokens) == 4:
        return USAGE
    known: dict[str, Any] = {"penstock.v1.journal.jobs": JOBS, "penstock.v1.journal.nodes": NODES}
    found: str | None = known.get(subject)
    return found
