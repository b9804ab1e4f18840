"""What does the broker do when there is no broker?

The in-memory twin's middle: it routes messages between its clients, keeps the streams, and fails on
request (crashes, partitions, faulty links). It runs on the event loop's clock alone, so a
virtual-time loop can drive it. It does not know the clients' half of the port (`memory`)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Literal

import msgspec

from penstock_bus import wire
from penstock_bus.memory_link import NO_FAULTS, Faults
from penstock_bus.memory_stream import MemoryStream
from penstock_bus.port import Appended, BusRefusal, Message, WrongSequence
from penstock_bus.subjects import is_pattern, matches, overlap
from penstock_contracts.streams import StreamConfig

if TYPE_CHECKING:
    from penstock_bus.memory_session import MemorySession

ERROR_SUBJECTS_OVERLAP = 10065
ERROR_NO_STORAGE = 10047
SUBJECTS_CACHED = 16_384

Direction = Literal["both", "to_broker", "from_broker"]


class Interest(msgspec.Struct, eq=False):
    """One subscription of one client."""

    pattern: str
    queue: str
    client: MemorySession
    handler: Callable[[Message], None]


class MemoryBroker:
    """`clock` gives the broker's time in ns; `rng` draws the faults (none without it). `full`: its
    disk takes nothing more. `sync_always`: what was acknowledged survives a power failure."""

    def __init__(
        self,
        clock: Callable[[], int],
        *,
        rng: random.Random | None = None,
        sync_always: bool = False,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.context = copy_context()
        self.sync_always = sync_always
        self.up = True
        self.full = False
        self.faults = NO_FAULTS
        self.clients: list[MemorySession] = []
        self.streams: dict[str, MemoryStream] = {}
        self._cuts: dict[str, Direction] = {}
        self._exact: dict[str, list[Interest]] = {}  # by subject
        self._below: dict[str, list[Interest]] = {}  # `<key>.*` by key
        self._patterns: list[Interest] = []  # all others
        self._routes: dict[str, tuple[Interest, ...]] = {}  # what was found, by subject
        self._stream_of: dict[str, MemoryStream | None] = {}
        self._turn = 0  # whose turn it is in queue groups
        self._inboxes = 0

    def new_inbox(self, prefix: str) -> str:
        self._inboxes += 1
        return f"{prefix}.{self._inboxes}"

    # -- failing --------------------------------------------------------------------------------
    def set_faults(self, faults: Faults) -> None:
        """For the links of all clients, now and later."""
        self.faults = faults
        for client in self.clients:
            client.uplink.faults = client.downlink.faults = faults

    def partition(self, name: str, direction: Direction = "both") -> None:
        """Cuts the clients of this name off, now and later. One way cut, a client still believes
        itself connected."""
        before = self._cuts.get(name, direction)
        self._cuts[name] = direction if before == direction else "both"
        for client in self._named(name):
            self.cut_off(client)
            if client.uplink.cut and client.downlink.cut:
                client.lose_connection()

    def cut_off(self, client: MemorySession) -> None:
        """Has a client feel the partition that is under its name."""
        direction = self._cuts.get(client.name)
        client.uplink.cut = direction in ("both", "to_broker")
        client.downlink.cut = direction in ("both", "from_broker")

    def reachable(self, name: str) -> bool:
        """Whether a client of this name could connect now."""
        return self.up and name not in self._cuts

    def heal(self, name: str) -> None:
        self._cuts.pop(name, None)
        for client in self._named(name):
            client.uplink.cut = client.downlink.cut = False
            client.regain_connection()

    def crash(self, *, lose_unsynced: bool = False) -> None:
        """As kill -9: memory streams are gone with their definitions; with `lose_unsynced` (as a
        power failure) also what was appended since `sync`."""
        self.up = False
        for name, stream in list(self.streams.items()):
            if stream.config.memory:
                del self.streams[name]
                self._stream_of.clear()
            elif lose_unsynced:
                stream.lose_unsynced()
        for client in list(self.clients):
            client.lose_connection()

    def start(self) -> None:
        self.up = True
        for client in list(self.clients):
            client.regain_connection()

    def sync(self) -> None:
        """All that is stored now survives a crash."""
        for stream in self.streams.values():
            stream.synced_seq = stream.last_seq

    def _named(self, name: str) -> list[MemorySession]:
        return [client for client in self.clients if client.name == name]

    # -- routing --------------------------------------------------------------------------------
    def add(self, interest: Interest) -> None:
        self._routes.clear()
        self._home_of(interest.pattern).append(interest)

    def remove(self, interest: Interest) -> None:
        home = self._home_of(interest.pattern)
        if interest in home:
            self._routes.clear()
            home.remove(interest)

    def remove_client(self, client: MemorySession) -> None:
        if client in self.clients:
            self.clients.remove(client)
        self._routes.clear()
        for index in (self._exact, self._below):
            for key in [k for k, found in index.items() if any(i.client is client for i in found)]:
                index[key] = [i for i in index[key] if i.client is not client]
        self._patterns = [i for i in self._patterns if i.client is not client]

    def _home_of(self, pattern: str) -> list[Interest]:
        if not is_pattern(pattern):
            return self._exact.setdefault(pattern, [])
        parent, _, last = pattern.rpartition(".")
        if last == "*" and not is_pattern(parent):
            return self._below.setdefault(parent, [])
        return self._patterns

    def route(self, message: Message) -> bool:
        """Stores the message where a stream takes its subject, delivers it to whoever listens;
        False when nobody did."""
        stored = self._store(message)
        return self._deliver(message) or stored

    def append(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None
    ) -> Appended | None:
        """As `route`, for a message whose sender waits for the acknowledgement: None when no stream
        takes the subject; raises WrongSequence or BusRefusal."""
        stream = self.stream_of(subject)
        if stream is None:
            self._deliver(Message(subject, payload, "", headers))
            return None
        appended = self._append_to(stream, subject, payload, headers)
        self._deliver(Message(subject, payload, "", headers))
        return appended

    def _store(self, message: Message) -> bool:
        stream = self.stream_of(message.subject)
        if stream is None:
            return False
        error: dict[str, object] | None = None
        answer: dict[str, object]
        try:
            appended = self._append_to(stream, message.subject, message.payload, message.headers)
            answer = {"stream": appended.stream, "seq": appended.seq}
            if appended.duplicate:
                answer["duplicate"] = True
        except WrongSequence as refusal:
            error = {"code": 400, "err_code": 10071, "description": str(refusal)}
        except BusRefusal as refusal:
            error = {"code": 400, "err_code": refusal.code, "description": refusal.description}
        if error is not None:
            answer = {"stream": stream.config.name, "error": error}
        if message.reply:
            self._deliver(Message(message.reply, wire.encode_json(answer)))
        return True

    def _append_to(
        self,
        stream: MemoryStream,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None,
    ) -> Appended:
        if self.full:
            raise BusRefusal(ERROR_NO_STORAGE, f"{subject}: insufficient storage resources")
        appended = stream.append(subject, payload, headers, self.clock())
        if not appended.duplicate:
            if self.sync_always:
                stream.synced_seq = stream.last_seq
            self.stored(stream, appended.seq)
        return appended

    def stored(self, stream: MemoryStream, seq: int) -> None:
        """A message is in its stream: whoever reads it hears of it."""
        for client in self.clients:
            if client.readers:
                client.announce(stream.config.name, seq)

    def _deliver(self, message: Message) -> bool:
        groups: dict[tuple[str, str], list[Interest]] = {}
        heard = False
        for interest in self._interested(message.subject):
            if not interest.client.connected:
                continue
            heard = True
            if interest.queue:
                groups.setdefault((interest.pattern, interest.queue), []).append(interest)
            else:
                interest.client.receive(interest, message)
        for members in groups.values():
            self._turn += 1
            chosen = members[self._turn % len(members)]
            chosen.client.receive(chosen, message)
        return heard

    def _interested(self, subject: str) -> Sequence[Interest]:
        """Connected or not."""
        if subject not in self._routes:
            if len(self._routes) >= SUBJECTS_CACHED:
                self._routes.clear()
            below = self._below.get(subject.rpartition(".")[0], ())
            by_pattern = (i for i in self._patterns if matches(i.pattern, subject))
            self._routes[subject] = (*self._exact.get(subject, ()), *below, *by_pattern)
        return self._routes[subject]

    # -- streams --------------------------------------------------------------------------------
    def stream_of(self, subject: str) -> MemoryStream | None:
        if subject not in self._stream_of:
            if len(self._stream_of) >= SUBJECTS_CACHED:
                self._stream_of.clear()
            taking = (s for s in self.streams.values() if s.takes(subject))
            self._stream_of[subject] = next(taking, None)
        return self._stream_of[subject]

    def stream(self, name: str) -> MemoryStream:
        """Raises BusRefusal when there is none."""
        found = self.streams.get(name)
        if found is None:
            raise BusRefusal(wire.ERROR_STREAM_NOT_FOUND, f"{name}: stream not found")
        found.expire(self.clock())
        return found

    def ensure_streams(self, configs: Sequence[StreamConfig]) -> None:
        for config in configs:
            for other in self.streams.values():
                if other.config.name != config.name and any(
                    overlap(a, b) for a in config.subjects for b in other.config.subjects
                ):
                    raise BusRefusal(
                        ERROR_SUBJECTS_OVERLAP,
                        f"{config.name}: subjects overlap with {other.config.name}",
                    )
            if config.name in self.streams:
                self.streams[config.name].reconfigure(config)
            else:
                self.streams[config.name] = MemoryStream(config, self.clock())
        self._stream_of.clear()
