"""What do the journals say, and when?

Reads the broker as the mesh's administrator: entries of NODES as they arrive, with the instant at
which they arrive here; sizes of streams. It does not know what caused them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from measure.mesh import Mesh

from penstock_bus.nats import NatsBus, connect
from penstock_contracts.message_type import ADMIN
from penstock_contracts.streams import STREAMS


class _Entry(msgspec.Struct):
    facts: list[dict[str, Any]]


_decode = msgspec.json.Decoder(_Entry).decode


async def administrator(mesh: Mesh) -> NatsBus:
    creds = mesh.data / "creds" / f"{ADMIN}.creds"
    return await connect(mesh.nats_url, name="benchmark", credentials=str(creds))


async def follow_nodes(
    bus: NatsBus, after_seq: int, done: Callable[[], bool], hear: Callable[[dict[str, Any]], None]
) -> None:
    """`hear` every fact of NODES behind `after_seq` until `done`; `at_ns` is added to each."""
    reader = await bus.reader("NODES", after_seq=after_seq)
    try:
        while not done():
            messages = await reader.next_batch()
            at_ns = time.time_ns()
            for message in messages:
                for fact in _decode(message.payload).facts:
                    hear(fact | {"at_ns": at_ns})
    finally:
        await reader.close()


async def stream_sizes(bus: NatsBus) -> dict[str, tuple[int, int]]:
    """(last sequence, bytes kept) of each stream."""
    states = await asyncio.gather(*(bus.stream_state(stream.name) for stream in STREAMS))
    return {
        stream.name: (state.last_seq, state.bytes)
        for stream, state in zip(STREAMS, states, strict=True)
    }
