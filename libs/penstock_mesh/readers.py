"""Who reads each stream, how far behind is it, and what is kept for it?

Reads the cursors that readers publish, and can have a stream no longer kept for one that is gone.
The stream's owner discards then, within seconds. It does not know what readers do.
"""

from __future__ import annotations

import msgspec

from penstock_bus.port import Bus, StoredMessage
from penstock_contracts.cursors import BUCKET, DROPPABLE, Cursor, cursor_key, dropped_key
from penstock_contracts.errors import MALFORMED
from penstock_contracts.streams import OWNERS, READERS

_decode = msgspec.json.Decoder(Cursor).decode
_encode = msgspec.json.Encoder().encode
NS_PER_S = 1_000_000_000


class NotDroppable(Exception):
    """There is no such reader, or the mesh stands still without it. The sentence says which."""


class ReaderView(msgspec.Struct, frozen=True, kw_only=True):
    """One reader of one stream. `behind`: messages it has not committed; `held_bytes`: about what
    they take; `oldest_age_s` of the first of them, None = there is none. `cursor` None = it never
    said."""

    stream: str
    reader: str
    cursor: int | None
    last_seq: int
    behind: int
    held_bytes: int
    oldest_age_s: int | None
    dropped: bool


async def list_readers(bus: Bus, now_ns: int) -> list[ReaderView]:
    """All of them, in the order of the contracts. Raises Outage, BusRefusal."""
    published = {item.key: item.value for item in await bus.kv_all(BUCKET)}
    found = []
    for stream, readers in READERS.items():
        state = await bus.stream_state(stream)
        for reader in readers:
            cursor = _read(published.get(cursor_key(stream, reader)))
            first = max(state.first_seq, (cursor or 0) + 1)
            behind = max(0, state.last_seq - first + 1)
            oldest = await bus.read(stream, first) if behind else None
            share = state.bytes * behind // state.messages if state.messages else 0
            found.append(
                ReaderView(
                    stream=stream,
                    reader=reader,
                    cursor=cursor,
                    last_seq=state.last_seq,
                    behind=behind,
                    held_bytes=share,
                    oldest_age_s=_age_s(oldest, now_ns),
                    dropped=dropped_key(stream, reader) in published,
                )
            )
    return found


def choose(views: list[ReaderView], name: str, stream: str | None) -> list[ReaderView]:
    """What a drop of this reader would mean. Raises NotDroppable."""
    if name not in DROPPABLE:
        known = sorted({view.reader for view in views})
        if name not in known:
            raise NotDroppable(f"no reader is called {name}; there are {', '.join(known)}")
        raise NotDroppable(
            f"the mesh stands still without {name}; only {', '.join(DROPPABLE)} can be dropped"
        )
    chosen = [view for view in views if view.reader == name and stream in (None, view.stream)]
    if not chosen:
        raise NotDroppable(f"{name} does not read {stream}")
    return chosen


async def drop(bus: Bus, views: list[ReaderView]) -> None:
    """Have these streams no longer kept for these readers. A stream that the reader owns is
    emptied here and now, since nobody else would. Raises Outage, BusRefusal."""
    for view in views:
        mark = Cursor(view.last_seq)
        await bus.kv_put(BUCKET, dropped_key(view.stream, view.reader), _encode(mark))
        if OWNERS[view.stream] == view.reader:
            await bus.purge(view.stream, up_to_seq=view.last_seq)


def _age_s(message: StoredMessage | None, now_ns: int) -> int | None:
    return None if message is None else max(0, now_ns - message.time_ns) // NS_PER_S


def _read(value: bytes | None) -> int | None:
    if value is None:
        return None
    try:
        return _decode(value).seq
    except MALFORMED:
        return None
