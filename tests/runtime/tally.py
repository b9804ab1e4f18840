"""What is the smallest service that shows everything a journaled service must do?

A core that counts deposits, how often it saw each one and at which sequence, and the builders that
run it over any bus.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock_bus.port import Bus, Message, StoredMessage
from penstock_contracts.streams import StreamConfig
from penstock_runtime.clock import Clock, SystemClock
from penstock_runtime.inputs import Input
from penstock_runtime.journaled import JournaledService
from penstock_runtime.leadership import Leadership, this_process
from penstock_runtime.process import StopSignal

JOURNAL = "BOOKS"
JOURNAL_SUBJECT = "test.journal"
INPUT = "DEPOSITS"
INPUT_SUBJECT = "test.deposit"
STREAMS = [
    StreamConfig(name=JOURNAL, subjects=(JOURNAL_SUBJECT,), max_bytes=1 << 28, discard_new=True),
    StreamConfig(name=INPUT, subjects=(INPUT_SUBJECT,), max_bytes=1 << 28, discard_new=True),
]
SETTLE_EVERY = 3


class Deposit(msgspec.Struct, frozen=True):
    """An event: `copies` facts of `padding` bytes follow from it; none when `amount` is 0."""

    name: str
    amount: int
    copies: int = 1
    padding: int = 0


class Deposited(msgspec.Struct, frozen=True, tag="deposited", tag_field="fact"):
    name: str
    amount: int
    padding: str = ""


class Rounded(msgspec.Struct, frozen=True, tag="rounded", tag_field="fact"):
    """So many deposits have been settled."""

    deposits: int


class Held(msgspec.Struct):
    times: dict[str, int] = {}
    seqs: dict[str, int] = {}
    total: int = 0
    settled: int = 0
    now_ns: int = 0


class TallyCore:
    """Counts what it is told; its state is `held`."""

    def __init__(self) -> None:
        self.held = Held()

    def decide(self, event: Any, now_ns: int, next_seq: int) -> Sequence[Any]:
        if event.amount == 0:
            return ()
        already = self.held.times.get(event.name, 0)
        return [
            Deposited(event.name, event.amount, "x" * event.padding)
            for _ in range(event.copies - already if event.copies > 1 else 1)
        ]

    def apply(self, fact: Any, seq: int, now_ns: int) -> None:
        held = self.held
        if now_ns < held.now_ns:
            raise ValueError("time went back")
        held.now_ns = now_ns
        if isinstance(fact, Rounded):
            held.settled = fact.deposits
        else:
            held.times[fact.name] = held.times.get(fact.name, 0) + 1
            held.seqs[fact.name] = seq
            held.total += fact.amount

    def apply_after_gap(self, fact: Any, seq: int, now_ns: int) -> bool:
        self.apply(fact, seq, now_ns)
        return True

    def settle(self, now_ns: int, next_seq: int) -> Sequence[Any]:
        due = self.held.settled + SETTLE_EVERY
        return [Rounded(due)] if sum(self.held.times.values()) >= due else ()

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.held)

    def restore(self, data: bytes) -> None:
        self.held = msgspec.json.decode(data, type=Held)


def decode_deposit(message: StoredMessage) -> Sequence[Any]:
    try:
        return (msgspec.json.decode(message.payload, type=Deposit),)
    except msgspec.DecodeError:
        return ()


_ids = itertools.count(1)


def a_service(bus: Bus, *, clock: Clock | None = None, **options: Any) -> JournaledService:
    """A tally over `bus`; a standby of it waits 0.3 s for a silent holder."""
    writer = f"w{next(_ids)}"
    clock = clock or SystemClock()
    options.setdefault(
        "leadership",
        Leadership(
            bus, service="tally", us=this_process(writer), clock=clock, silence_s=0.3, refresh_s=0.1
        ),
    )
    return JournaledService(
        bus,
        name="tally",
        stream=JOURNAL,
        subject=JOURNAL_SUBJECT,
        fact_type=Deposited | Rounded,
        core_factory=TallyCore,
        inputs=[Input(INPUT, decode_deposit)],
        clock=clock,
        new_id=lambda: f"id{next(_ids)}",
        **options,
    )


class EverybodyLeads:
    """A lock that excludes nobody: what keeps two writers apart is the journal alone."""

    holder = None

    async def acquire(self, stopping: Callable[[], bool]) -> bool:
        return True

    async def hold(self) -> str:
        await asyncio.get_running_loop().create_future()
        raise RuntimeError("never")

    async def release(self) -> None: ...


class Running:
    """A service at work in its own task."""

    def __init__(self, service: JournaledService) -> None:
        self.service = service
        self.stop = StopSignal()
        self.task = asyncio.create_task(service.run(self.stop))

    @property
    def held(self) -> Held:
        held: Held = self.service.core.held
        return held

    @property
    def active(self) -> bool:
        if self.task.done():
            self.task.result()
        return self.service.phase == "active"

    async def end(self) -> int:
        """Drain; returns the exit code."""
        self.stop.request("the test is over")
        return await self.task

    async def kill(self) -> None:
        """As `kill -9`: nothing is drained; its bus should be killed before."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """`eventually` for loops that a test makes itself."""
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def prepare(bus: Bus) -> None:
    await bus.ensure_streams(STREAMS)
    await bus.ensure_buckets(["CURSORS", "LOCKS"])
    await bus.ensure_buckets(["SNAPSHOTS"], objects=True)


async def deposit(bus: Bus, name: str, amount: int = 1, **more: int) -> int:
    """Put one deposit into the input stream; returns its sequence."""
    payload = msgspec.json.encode(Deposit(name, amount, **more))
    return (await bus.append(INPUT_SUBJECT, payload)).seq


async def journal_of(bus: Bus) -> list[dict[str, Any]]:
    """All entries, as plain JSON, None for what is none."""
    state = await bus.stream_state(JOURNAL)
    entries = []
    for seq in range(state.first_seq, state.last_seq + 1):
        message = await bus.read(JOURNAL, seq)
        if message is not None:
            entries.append(msgspec.json.decode(message.payload))
    return entries


def a_foreign_entry(term: int, *facts: Any, now_ns: int = 1, **cursors: int) -> bytes:
    """What another writer might have appended."""
    return msgspec.json.encode(
        {
            "term": term,
            "writer": "somebody",
            "entry_id": f"foreign{next(_ids)}",
            "now_ns": now_ns,
            "cursors": cursors,
            "facts": list(facts),
        }
    )


def total_handler(service: Callable[[], JournaledService]) -> Callable[[Message], bytes]:
    """Answers a query with what the core holds."""
    return lambda _: msgspec.json.encode(service().core.held)
