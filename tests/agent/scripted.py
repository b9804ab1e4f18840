"""What would the rest of the mesh say to an agent, and what does it hear?

A scripted scheduler on a real broker that gives orders and folds what the agent publishes, and the
agent as a process that may be killed. It does not decide anything by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.port import Bus, Message, NoResponders, Outage
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import (
    DesiredAck,
    LeaseOrder,
    NodeDesired,
    NodeReport,
    ReportItem,
)
from penstock_contracts.nodes import Device, Heartbeat, NodeDescription
from penstock_contracts.streams import STREAMS
from penstock_contracts.usage import AuditReply, DeviceCounter, Segment, UsageBatch

NODE = "n1"
_encode = msgspec.json.encode
_report = msgspec.json.Decoder(NodeReport)
_usage = msgspec.json.Decoder(UsageBatch)


class Mesh:
    """`items`: all report items in stream order, repeats included."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.as_of = 0
        self.held: dict[str, LeaseOrder] = {}
        self.items: list[ReportItem] = []
        self.descriptions: list[NodeDescription] = []
        self.segments: dict[str, Segment] = {}
        self.counters: dict[str, DeviceCounter] = {}
        self.batches: list[UsageBatch] = []
        self.output: dict[tuple[str, str], dict[int, bytes]] = defaultdict(dict)
        self.beats: list[Heartbeat] = []
        self._readers: list[tuple[Any, Callable[[Any], None]]] = []

    async def open(self) -> None:
        await self.bus.ensure_streams(STREAMS)
        for stream, fold in (
            ("REPORTS", self._on_report),
            ("DESCRIPTIONS", self._on_description),
            ("USAGE", self._on_usage),
            ("LOGS", self._on_log),
        ):
            self._readers.append((await self.bus.reader(stream, after_seq=0), fold))
        await self.bus.subscribe(f"{ROOT}.node.{NODE}.heartbeat", self._on_beat)

    def hear(self) -> None:
        """Fold what has arrived."""
        for reader, fold in self._readers:
            for message in reader.take_ready():
                fold(message)

    async def order(self, *orders: LeaseOrder, dropped: Sequence[str] = ()) -> DesiredAck:
        base, self.as_of = self.as_of, self.as_of + 1
        self.held |= {order.key: order for order in orders}
        for key in dropped:
            self.held.pop(key, None)
        return await self.send(
            NodeDesired(as_of=self.as_of, base=base, leases=orders, dropped=tuple(dropped))
        )

    async def order_all(self) -> DesiredAck:
        self.as_of += 1
        return await self.send(
            NodeDesired(as_of=self.as_of, full=True, leases=tuple(self.held.values()))
        )

    async def send(self, desired: NodeDesired) -> DesiredAck:
        answer = await self.bus.request(
            f"{ROOT}.node.{NODE}.desired", _encode(desired), timeout_s=5.0
        )
        return msgspec.json.decode(answer.payload, type=DesiredAck)

    async def reachable(self) -> bool:
        """Whether the agent takes orders now; one that changes nothing is sent."""
        try:
            await self.send(NodeDesired(as_of=0))
        except (NoResponders, Outage):
            return False
        return True

    async def audit(self) -> AuditReply:
        answer = await self.bus.request(f"{ROOT}.node.{NODE}.audit", b"{}", timeout_s=10.0)
        return msgspec.json.decode(answer.payload, type=AuditReply)

    def story(self, order: LeaseOrder) -> list[Any]:
        """What was reported about the lease, each kind once, as a reader folds it."""
        self.hear()
        story: list[Any] = []
        for item in self.items:
            mine = getattr(item, "lease_seq", None) == order.lease_seq
            if mine and getattr(item, "rank", None) == order.rank and item not in story:
                story.append(item)
        return story

    def devices_told(self) -> list[tuple[Device, ...]]:
        """What the node has said of its devices, each time that it was something else."""
        self.hear()
        told: list[tuple[Device, ...]] = []
        for description in self.descriptions:
            if not told or told[-1] != description.devices:
                told.append(description.devices)
        return told

    def kinds(self, order: LeaseOrder) -> list[str]:
        return [type(item).__name__ for item in self.story(order)]

    def has(self, order: LeaseOrder, kind: str) -> bool:
        return kind in self.kinds(order)

    def end(self, order: LeaseOrder) -> Any:
        """The lease's Exited, None while there is none."""
        found = [item for item in self.story(order) if type(item).__name__ == "Exited"]
        return found[0] if found else None

    def leases_metered(self) -> set[int]:
        self.hear()
        return {segment.lease_seq for segment in self.segments.values()}

    def size(self, order: LeaseOrder, stream: str) -> int:
        """How long `text` would be."""
        self.hear()
        size = 0
        chunks = self.output[f"{order.job_id}.{order.attempt}.{order.rank}", stream]
        for offset in sorted(chunks):
            if offset <= size:
                size = max(size, offset + len(chunks[offset]))
        return size

    def text(self, order: LeaseOrder, stream: str) -> bytes:
        """The stream's output as far as it is contiguous, as a reader joins chunks by offset."""
        self.hear()
        whole = bytearray()
        chunks = self.output[f"{order.job_id}.{order.attempt}.{order.rank}", stream]
        for offset in sorted(chunks):
            if offset <= len(whole):
                whole += chunks[offset][len(whole) - offset :]
        return bytes(whole)

    def _on_report(self, message: Any) -> None:
        self.items += _report.decode(message.payload).items

    def _on_description(self, message: Any) -> None:
        self.descriptions.append(msgspec.json.decode(message.payload, type=NodeDescription))

    def _on_usage(self, message: Any) -> None:
        batch = _usage.decode(message.payload)
        self.batches.append(batch)
        for segment in batch.segments:
            known = self.segments.setdefault(segment.id, segment)
            if known != segment:
                raise AssertionError(f"one id, two segments: {known} {segment}")
        for counter in batch.counters:
            self.counters[counter.uuid] = counter

    def _on_log(self, message: Any) -> None:
        *_, job, attempt, rank, stream = message.subject.split(".")
        offset = int(message.headers["Penstock-Offset"])
        chunks = self.output[f"{job}.{attempt}.{rank}", stream]
        if len(message.payload) > len(chunks.get(offset, b"")):
            chunks[offset] = message.payload

    def _on_beat(self, message: Message) -> None:
        self.beats.append(msgspec.json.decode(message.payload, type=Heartbeat))


class AgentProcess:
    """The agent as an operator starts it. Killed, it leaves its reaper and work behind."""

    def __init__(self, directory: Path, url: str, *flags: str) -> None:
        self.directory = directory / "state"
        self._log = directory / "agent.log"
        self._argv = [
            *(sys.executable, "-P", "-m", "penstock_node_agent", "--node", NODE),
            *("--nats-url", url, "--state-dir", str(self.directory)),
            *("--driver", "simulated:4xH100", "--port-range", "21000-21099"),
            *("--heartbeat", "0.1", *flags),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the agent does not run")
        return self._process.pid

    @property
    def reaper_pid(self) -> int:
        return int((self.directory / "reaper.pid").read_text("ascii").split()[0])

    @property
    def process_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """As `kill -9`: the work goes on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self, timeout_s: float = 15.0) -> int:
        """SIGTERM; returns the exit code."""
        if self._process is None:
            raise RuntimeError("the agent does not run")
        self._process.terminate()
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def wait(self, timeout_s: float = 15.0) -> int:
        """Its exit code, once it has ended by itself."""
        if self._process is None:
            raise RuntimeError("the agent does not run")
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Nothing of it is left: agent, reaper, work."""
        self.kill()
        if (self.directory / "reaper.pid").exists():
            with_reaper = self.reaper_pid
            os.kill(with_reaper, signal.SIGTERM)

    def log(self) -> str:
        return self._log.read_text("utf-8")
