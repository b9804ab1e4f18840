"""How long does an audit compare, however long the history is?

A fleet has run short jobs one after the other on every slot, and its agents have sent their usage.
Timed: deriving all of it at once (what a rebuild takes, or an audit of a ledger that nobody derived
before); an audit after the last second of that, when the rest had been derived as it came; and an
audit of a large fleet that is idle. The broker and the agents are not in the times. For the
record: `python benchmarks/bench_audit.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from measure.report import emit, say

from penstock_bus.port import StoredMessage
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import (
    JobFinished,
    JobSubmitted,
    LeaseGranted,
    RankExited,
    RankPlacement,
    RankReleased,
)
from penstock_contracts.nodes import Device, NodeDescription, NodeRegistered
from penstock_contracts.usage import DeviceCounter, Segment, UsageBatch
from penstock_metering.devices import device_time
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import Ingest, open_ledger
from penstock_metering.reading import Library

START_MS = 1_800_000_000_000
JOB_MS = 80
SUBJECTS = {"JOBS": "penstock.v1.journal.jobs", "NODES": "penstock.v1.journal.nodes"}


class Fleet:
    """Writes what a mesh would have said; `take` gives what was written since."""

    def __init__(self, nodes: int, devices: int) -> None:
        self.now_ms = START_MS
        self._seqs = {"JOBS": 0, "NODES": 0, "USAGE": 0}
        self._written: dict[str, list[StoredMessage]] = {name: [] for name in self._seqs}
        self.devices = {
            f"node-{n:05}": [f"GPU-{n:08x}-{d:04x}" for d in range(devices)] for n in range(nodes)
        }
        self._ran = {uuid: 0 for own in self.devices.values() for uuid in own}
        self._batches = dict.fromkeys(self.devices, 0)
        self._jobs = 0
        for node, own in self.devices.items():
            described = NodeDescription(
                node=node, boot_id="boot-1", joined_ms=START_MS, cpu_milli=64_000,
                memory_mib=1 << 20,
                devices=tuple(Device(uuid=u, index=i, model="H100") for i, u in enumerate(own)),
            )  # fmt: skip
            self._journal("NODES", NodeRegistered(described))

    def _store(self, stream: str, subject: str, content: Any) -> int:
        self._seqs[stream] += 1
        payload, seq = msgspec.json.encode(content), self._seqs[stream]
        at_ns = self.now_ms * 1_000_000
        self._written[stream].append(StoredMessage(subject, payload, seq, at_ns))
        return seq

    def _journal(self, stream: str, *facts: Any) -> int:
        entry = {
            "term": 1, "writer": "bench", "entry_id": f"{stream}-{self._seqs[stream]}",
            "now_ns": self.now_ms * 1_000_000, "cursors": {}, "facts": facts,
        }  # fmt: skip
        return self._store(stream, SUBJECTS[stream], entry)

    def round(self) -> int:
        """One job on every device; returns how many."""
        segments: dict[str, list[Segment]] = {}
        granted = []
        for node, own in self.devices.items():
            for uuid in own:
                self._jobs += 1
                job_id = ulid(START_MS, self._jobs)
                spec = JobSpec(job_id=job_id, command=("/bin/true",), gpus=1)
                place = (RankPlacement(0, node, (uuid,)),)
                seq = self._journal(
                    "JOBS", JobSubmitted("t", self._jobs, "d", spec), LeaseGranted(job_id, 1, place)
                )
                granted.append((job_id, node, uuid, seq))
        begun_ms = self.now_ms + 2
        self.now_ms += JOB_MS
        for job_id, node, uuid, seq in granted:
            ended_ms = self.now_ms - 2
            segment = Segment(
                lease_seq=seq, job_id=job_id, tenant="t", attempt=1, rank=0, seq=0,
                t0_ms=begun_ms, t1_ms=ended_ms, devices=(uuid,), last=True,
            )  # fmt: skip
            segments.setdefault(node, []).append(segment)
            self._ran[uuid] += 1_000 * (ended_ms - begun_ms)
            exited = RankExited(
                job_id=job_id, attempt=1, rank=0, reason="exited", at_ms=ended_ms, exit_code=0,
                started_ms=begun_ms, segments=1,
            )  # fmt: skip
            self._journal(
                "JOBS", exited, RankReleased(job_id, 1, 0, self.now_ms, "release_check"),
                JobFinished(job_id=job_id, attempt=1, state="succeeded", exit_code=0),
            )  # fmt: skip
        for node in self.devices:
            self.send(node, segments[node])
        return len(granted)

    def send(self, node: str, segments: list[Segment]) -> None:
        self._batches[node] += 1
        counters = tuple(
            DeviceCounter(uuid, START_MS, self.now_ms, self._ran[uuid])
            for uuid in self.devices[node]
        )
        said = UsageBatch(node, "boot-1", self._batches[node], tuple(segments), counters)
        self._store("USAGE", f"penstock.v1.usage.{node}", said)

    def take(self) -> dict[str, list[StoredMessage]]:
        written = self._written
        self._written = {name: [] for name in self._seqs}
        return written

    @property
    def jobs_seq(self) -> int:
        return self._seqs["JOBS"]


class Auditing:
    """A ledger, and what an audit does in it once all agents have answered."""

    def __init__(self, directory: Path, fleet: Fleet) -> None:
        database = Database(f"sqlite:///{directory / 'ledger.sqlite'}")
        self._fleet = fleet
        self._library = Library(database)
        self.ingest: Ingest = open_ledger(database, Writer(name="bench"))

    def derive(self) -> float:
        return _seconds(self._derive)

    def _derive(self) -> None:
        while self.ingest.change(device_time.step):
            pass

    def audit(self) -> float:
        return _seconds(self._audit)

    def _audit(self) -> None:
        self._derive()
        fleet = self._fleet
        found = self._library.balance(frozenset(fleet.devices), fleet.jobs_seq, fleet.now_ms)
        self._library.counts(fleet.jobs_seq)
        if found.unaccounted_milli_ms or found.findings:
            raise RuntimeError(f"{found.unaccounted_milli_ms} {found.findings[:3]}")


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return round(time.perf_counter() - begun, 3)


def busy(jobs: int, nodes: int, devices: int, directory: Path) -> dict[str, Any]:
    """Derived as it comes, audited at the end; then all of it anew."""
    fleet = Fleet(nodes, devices)
    auditing = Auditing(directory, fleet)
    deriving_s, done = 0.0, 0
    for done in _rounds(fleet, jobs):  # noqa: B007
        auditing.ingest.commit(fleet.take())
        deriving_s += auditing.derive()
    say(f"{done:,} jobs are in")
    fleet.round()
    auditing.ingest.commit(fleet.take())
    audit_s = auditing.audit()
    auditing.ingest.change(device_time.forget)
    return {
        "jobs": done, "slots": nodes * devices, "audit_s": audit_s,
        "deriving_us_per_job": round(deriving_s / done * 1e6, 1), "anew_s": auditing.audit(),
    }  # fmt: skip


def _rounds(fleet: Fleet, jobs: int) -> Iterator[int]:
    """About a second of work at a time."""
    done = 0
    while done < jobs:
        for _ in range(1_000 // JOB_MS):
            done += fleet.round()
        yield done


def idle(nodes: int, devices: int, directory: Path) -> dict[str, Any]:
    fleet = Fleet(nodes, devices)
    auditing = Auditing(directory, fleet)
    taken = []
    for _ in range(2):
        fleet.now_ms += 600_000
        for node in fleet.devices:
            fleet.send(node, [])
        auditing.ingest.commit(fleet.take())
        taken.append(auditing.audit())
    return {"nodes": nodes, "devices": nodes * devices, "first_s": taken[0], "audit_s": taken[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=158_497)
    parser.add_argument("--nodes", type=int, default=10_000)
    chosen = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as first:
        results["busy"] = busy(chosen.jobs, 4, 8, Path(first))
    with tempfile.TemporaryDirectory() as second:
        results["idle"] = idle(chosen.nodes, 8, Path(second))
    emit(benchmark="audit", **results)


if __name__ == "__main__":
    main()
