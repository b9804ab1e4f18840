"""Is the disk bounded that waiting output takes, and is what was given up said in its place?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.builders import a_node, an_end, an_order, ordered
from penstock_bus.port import Appended, Outage
from penstock_contracts.leases import Exited, LeaseOrder
from penstock_contracts.output import Piece, piece_of
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.telling import spool_room as spool_room_module
from penstock_node_agent.telling.logs import CHUNK_BYTES_MAX, LogShipper
from penstock_node_agent.telling.spool_room import SpoolBounds, SpoolRoom
from penstock_node_agent.workplace.slots import Slots

BLOCK = spool_room_module.BLOCK_BYTES
OnDone = Callable[[Appended | Exception], None]


class Broker:
    """Stores what is appended when told to answer, or fails it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Piece, str, OnDone]] = []
        self.stored: dict[str, tuple[str, Piece]] = {}

    def append_nowait(
        self,
        subject: str,
        payload: bytes,
        on_done: OnDone,
        *,
        message_id: str,
        headers: Mapping[str, str],
    ) -> None:
        piece = piece_of(payload, headers)
        assert piece is not None
        self.asked.append((subject.rpartition(".")[2], piece, message_id, on_done))

    def answer(self, *, store: bool = True, tell: bool = True) -> None:
        """The oldest question: stored or not, and told or lost on the way back."""
        stream, piece, message_id, on_done = self.asked.pop(0)
        if store:
            known = self.stored.setdefault(message_id, (stream, piece))
            assert known == (stream, piece), "one id, two contents"
        on_done(Appended("LOGS", len(self.stored)) if store and tell else Outage("away"))

    def read(self, stream: str) -> tuple[bytes, list[tuple[int, int]]]:
        """What a reader makes of it: bytes, with zeros where some were dropped, and where."""
        text = bytearray()
        gaps: list[tuple[int, int]] = []
        pieces = [piece for name, piece in self.stored.values() if name == stream]
        while True:
            fits = [p for p in pieces if p.offset <= len(text) < p.end]
            if not fits:
                return bytes(text), gaps
            piece = max(fits, key=lambda piece: bool(piece.data)).behind(len(text))
            if piece.dropped:
                gaps.append((piece.offset, piece.end))
            text += piece.data or bytes(piece.dropped)


class Node:
    """An agent's tailing of one running attempt, over a real disk."""

    def __init__(self, directory: Path, attempt_bytes: int, node_bytes: int = 1 << 30) -> None:
        self.directory = directory
        self.disk = Disk()
        self.slots = Slots(self.disk, str(directory))
        self.broker = Broker()
        self.state: State = a_node()
        self.bounds = SpoolBounds(attempt_bytes, node_bytes)
        self.orders: list[LeaseOrder] = []
        self.start()

    def start(self) -> None:
        """As an agent does that begins anew with what its journal kept."""
        broker: Any = self.broker
        self.broker.asked.clear()
        self.shipper = LogShipper(broker, self.state, self.disk, self.slots, self.take)
        self.room = SpoolRoom(self.state, self.disk, self.shipper.tails, self.take, self.bounds)
        self.shipper.grown(None)

    def run(self, device: str = "D0") -> LeaseOrder:
        order = an_order(devices=(device,))
        self.orders.append(order)
        handle(self.state, ordered(*self.orders, as_of=len(self.orders)))
        handle(self.state, events.Began(at_ns=1, key=order.key))
        self.shipper.ship(order.key)
        return order

    def take(self, event: events.AnyEvent) -> None:
        handle(self.state, event)

    def path(self, order: LeaseOrder, stream: str = "stdout") -> Path:
        return Path(self.slots.spool(self.state.spools[order.key].slot, stream))

    def write(self, order: LeaseOrder, data: bytes, stream: str = "stdout") -> None:
        path = self.path(order, stream)
        with open(path, "ab") as file:
            file.write(data)
        self.shipper.grown([path.name])

    async def settle(self) -> None:
        """A heartbeat with its sync, and what that sets free."""
        self.room.hold()
        self.room.release()
        if self.room._punching is not None:
            await self.room._punching

    def taken(self, order: LeaseOrder) -> int:
        """Bytes of the disk under the attempt's output."""
        paths = (self.path(order, stream) for stream in ("stdout", "stderr"))
        return sum(os.stat(path).st_blocks * 512 for path in paths if path.exists())


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_room_module, "PUNCH_BYTES_MIN", BLOCK)


async def test_output_without_end_takes_no_more_room_than_what_waits(tmp_path: Path) -> None:
    node = Node(tmp_path, attempt_bytes=1 << 30)
    order = node.run()
    for number in range(50):
        node.write(order, bytes([number]) * (1 << 20))
        while node.broker.asked:
            node.broker.answer()
        await node.settle()
        assert node.taken(order) <= 2 * BLOCK
    assert os.stat(node.path(order)).st_size == 50 << 20
    text, gaps = node.broker.read("stdout")
    assert text == b"".join(bytes([number]) * (1 << 20) for number in range(50))
    assert gaps == [] and node.room.dropped_bytes == 0


async def test_what_there_is_no_room_for_is_given_up_from_the_oldest_on_and_said_in_its_place(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, attempt_bytes=64 * BLOCK)
    order = node.run()
    written = b""
    for number in range(40):
        data = bytes([number + 1]) * (8 * BLOCK)
        written += data
        node.write(order, data)
        await node.settle()
        assert node.taken(order) <= (64 + 8 + 8 + 2) * BLOCK
    assert len(node.broker.asked) == 1, "the broker is away"
    while node.broker.asked:
        node.broker.answer()
    text, gaps = node.broker.read("stdout")
    assert gaps == [(8 * BLOCK, len(written) - 64 * BLOCK)]
    assert node.room.dropped_bytes == gaps[0][1] - gaps[0][0]
    (start, end) = gaps[0]
    assert text == written[:start] + bytes(end - start) + written[end:]
    spool = node.state.spools[order.key]
    assert (spool.out, spool.drops) == (len(written), [])


async def test_an_attempt_that_ended_meanwhile_is_told_whole_and_its_slot_set_free(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, attempt_bytes=8 * BLOCK)
    order = node.run()
    node.write(order, b"x" * (40 * BLOCK))
    node.write(order, b"y" * (40 * BLOCK))
    await node.settle()
    handle(node.state, an_end(order, at_ns=20, out_bytes=80 * BLOCK))
    while node.broker.asked:
        node.broker.answer()
    assert order.key not in node.state.spools
    text, gaps = node.broker.read("stdout")
    assert len(text) == 80 * BLOCK
    assert gaps == [(CHUNK_BYTES_MAX, 72 * BLOCK)]


async def test_what_a_job_writes_after_it_has_emptied_its_own_file_comes_behind_what_is_stored(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, attempt_bytes=1 << 30)
    order = node.run()
    node.write(order, b"x" * (2 * BLOCK), "stderr")
    node.broker.answer()
    await node.settle()
    node.path(order, "stderr").write_bytes(b"")
    node.write(order, b"fatal: ", "stderr")
    node.broker.answer()
    node.start()
    node.write(order, b"no such file\n", "stderr")
    node.broker.answer()
    await node.settle()
    node.path(order, "stderr").write_bytes(b"bye\n")
    handle(node.state, an_end(order, at_ns=20, err_bytes=4))
    node.shipper.ship(order.key)
    while node.broker.asked:
        node.broker.answer()
    text, gaps = node.broker.read("stderr")
    assert text == b"x" * (2 * BLOCK) + b"fatal: no such file\nbye\n" and gaps == []
    (told,) = [item for item in node.state.reports if isinstance(item, Exited)]
    assert told.log_bytes["stderr"] == len(text)
    assert order.key not in node.state.spools


async def test_the_bound_of_the_node_takes_from_whoever_has_most(tmp_path: Path) -> None:
    node = Node(tmp_path, attempt_bytes=1 << 30, node_bytes=20 * BLOCK)
    quiet, loud = node.run("D0"), node.run("D1")
    for order, blocks in ((quiet, 4), (loud, 40)):
        node.write(order, b"x")
        node.write(order, b"x" * (blocks * BLOCK))
    await node.settle()
    assert node.state.spools[quiet.key].drops == []
    (drop,) = node.state.spools[loud.key].drops
    assert (drop.start, drop.end) == (1, 25 * BLOCK)


async def test_nothing_is_punched_before_the_journal_is_on_the_disk(tmp_path: Path) -> None:
    node = Node(tmp_path, attempt_bytes=1)
    order = node.run()
    node.write(order, b"x" * (4 * BLOCK))
    node.write(order, b"y" * (4 * BLOCK))
    before = node.taken(order)
    node.room.hold()
    assert node.room.wanted and node.taken(order) == before
    assert isinstance(
        events.LogsDropped(key="k", stream="stdout", start=0, end=1), events.MUST_SYNC
    )
    await node.settle()
    assert node.taken(order) <= 5 * BLOCK, "what is under way stays"


ACTS = ("write", "write", "write", "store", "refuse", "unheard", "settle", "restart")
acts = st.lists(
    st.tuples(
        st.sampled_from(ACTS),
        st.integers(1, 3 * BLOCK),
        st.sampled_from(("stdout", "stderr")),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(acts)
def test_a_reader_gets_every_byte_or_its_mark_whatever_befalls(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    asyncio.run(_befall(tmp_path_factory.mktemp("node"), steps))


async def _befall(directory: Path, steps: list[tuple[str, int, str]]) -> None:
    node = Node(directory, attempt_bytes=BLOCK)
    order = node.run()
    written = {"stdout": b"", "stderr": b""}
    for number, (act, size, stream) in enumerate(steps):
        if act == "write":
            data = bytes([1 + number]) * size
            written[stream] += data
            node.write(order, data, stream)
        elif act == "settle":
            await node.settle()
        elif act == "restart":
            node.start()
        elif node.broker.asked:
            node.broker.answer(store=act != "refuse", tell=act == "store")
    node.start()
    while node.broker.asked:
        node.broker.answer()
    for stream, data in written.items():
        text, gaps = node.broker.read(stream)
        assert len(text) == len(data)
        there = bytearray(data)
        for start, end in gaps:
            there[start:end] = bytes(end - start)
        assert text == there
