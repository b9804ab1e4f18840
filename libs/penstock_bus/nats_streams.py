"""How are the broker's streams made, read and emptied?

Stream configuration, reads and purges over JetStream's JSON API. Streams are read by direct get, so
that a client needs no other right; any replica answers it. Buckets are read from the stream's
leader: a lock, a cursor or a snapshot of some time ago would only mislead. It does not know appends
(`nats`) or readers (`nats_reader`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from penstock_bus import wire
from penstock_bus.nats_calls import API_TIMEOUT_S, Calls, is_refusal
from penstock_bus.port import BusRefusal, Outage, StoredMessage, StreamState
from penstock_contracts.streams import StreamConfig

NANOSECONDS = 1_000_000_000
CREATE_TIMEOUT_S = 15.0  # a fresh broker answers late while JetStream recovers its streams
RETRY_S = 0.1
SHORTER_S_MIN = 10.0
"""A deposed leader of a replicated stream, or a new one that has not caught up yet, says for a
while that the stream is shorter than it is."""
BUCKET_PREFIXES = ("KV_", "OBJ_")
READ_MANY_MAX = 1_000
READ_MANY_BYTES_MAX = 8 * 1024 * 1024


class Streams:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ensure(self, streams: Sequence[StreamConfig]) -> None:
        """Creates each stream or brings it up to date; repeats while JetStream is starting."""
        for stream in streams:
            await self._ensure_one(_json_of_stream(stream))

    async def _ensure_one(self, config: dict[str, Any]) -> None:
        deadline = asyncio.get_running_loop().time() + CREATE_TIMEOUT_S
        while True:
            try:
                await self._create_or_update(config)
                return
            except (Outage, BusRefusal) as error:
                # A cluster that is coming up knows of fewer servers than replicas are asked for.
                again = isinstance(error, Outage) or is_refusal(error, wire.ERROR_NO_PEERS)
                if not again or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_S)

    async def _create_or_update(self, config: dict[str, Any]) -> None:
        name = config["name"]
        try:
            await self._calls.api(f"STREAM.CREATE.{name}", config)
        except BusRefusal as error:
            if not is_refusal(error, wire.ERROR_STREAM_NAME_IN_USE):
                raise
            replicas = max(
                config["num_replicas"], (await self.info(name))["config"]["num_replicas"]
            )
            await self._calls.api(f"STREAM.UPDATE.{name}", _with_replicas(config, replicas))

    async def info(self, stream: str) -> dict[str, Any]:
        return await self._calls.api(f"STREAM.INFO.{stream}")

    async def state(self, stream: str, at_least: int = 0) -> StreamState:
        state = (await info_reaching(self._calls, stream, at_least))["state"]
        last_seq = int(state["last_seq"])
        messages = int(state["messages"])
        first_seq = int(state["first_seq"]) if messages else last_seq + 1
        return StreamState(first_seq, last_seq, messages, int(state["bytes"]))

    async def purge(self, stream: str, up_to_seq: int | None, subject: str) -> None:
        """Never past the end: JetStream would then skip sequences that were never given out."""
        body: dict[str, Any] = {}
        if subject:
            body["filter"] = subject
        if up_to_seq is not None:
            last_seq = (await self.state(stream)).last_seq
            up_to_seq = min(up_to_seq, last_seq)
            if up_to_seq < 1:
                return
            body["seq"] = up_to_seq + 1
        await self._calls.api(f"STREAM.PURGE.{stream}", body)

    # -- reads of buckets -----------------------------------------------------------------------
    async def _read_many_of_leader(
        self, stream: str, from_seq: int, subject: str, limit: int
    ) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        size = 0
        while len(found) < limit and size < READ_MANY_BYTES_MAX:
            body = {"seq": max(from_seq, 1), "next_by_subj": subject}
            message = await self._get_of_leader(stream, body)
            if message is None:
                break
            found.append(message)
            size += len(message.payload)
            from_seq = message.seq + 1
        return found

    async def _get_of_leader(self, stream: str, body: dict[str, Any]) -> StoredMessage | None:
        try:
            answer = await self._calls.api(f"STREAM.MSG.GET.{stream}", body)
        except BusRefusal as error:
            if is_refusal(error, wire.ERROR_NO_MESSAGE):
                return None
            raise
        return wire.stored_message(answer["message"])

    # -- direct reads ---------------------------------------------------------------------------
    async def read(self, stream: str, seq: int) -> StoredMessage | None:
        return await self._get(f"$JS.API.DIRECT.GET.{stream}", {"seq": seq})

    async def read_last(self, stream: str, subject: str) -> StoredMessage | None:
        if is_behind_bucket(stream):
            return await self._get_of_leader(stream, {"last_by_subj": subject})
        if "*" in subject or ">" in subject:
            return await self._get(f"$JS.API.DIRECT.GET.{stream}", {"last_by_subj": subject})
        return await self._get(f"$JS.API.DIRECT.GET.{stream}.{subject}", None)

    async def read_next(self, stream: str, from_seq: int, subject: str) -> StoredMessage | None:
        return await self._get(
            f"$JS.API.DIRECT.GET.{stream}", {"seq": max(from_seq, 1), "next_by_subj": subject}
        )

    async def read_many(
        self, stream: str, from_seq: int, subject: str, limit: int
    ) -> list[StoredMessage]:
        """Up to `limit` messages in one question (batched direct get, server 2.11+)."""
        if is_behind_bucket(stream):
            return await self._read_many_of_leader(stream, from_seq, subject, limit)
        body = {
            "seq": max(from_seq, 1),
            "next_by_subj": subject,
            "batch": min(limit, READ_MANY_MAX),
            "max_bytes": READ_MANY_BYTES_MAX,
        }
        replies = await self._calls.ask_many(
            f"$JS.API.DIRECT.GET.{stream}", wire.encode_json(body), API_TIMEOUT_S
        )
        _, end = replies.pop()
        status = wire.decode_status(end)
        if status not in (wire.END_OF_BATCH, wire.NOT_FOUND):
            raise BusRefusal(status, f"{stream}: {wire.decode_status_text(end or b'')}")
        return [wire.decode_direct(payload, block or b"") for payload, block in replies]

    async def _get(self, subject: str, body: dict[str, Any] | None) -> StoredMessage | None:
        payload = b"" if body is None else wire.encode_json(body)
        answer, block = await self._calls.ask(subject, payload, API_TIMEOUT_S)
        status = wire.decode_status(block)
        if status == wire.NOT_FOUND:
            return None
        if status or block is None:
            text = wire.decode_status_text(block or b"")
            raise BusRefusal(status, f"{subject}: {text or 'no answer of a direct get'}")
        return wire.decode_direct(answer, block)


async def info_reaching(calls: Calls, stream: str, seq: int) -> dict[str, Any]:
    """What the broker says of a stream. That a replicated one ends before `seq` is believed only
    when it goes on saying so."""
    deadline = asyncio.get_running_loop().time() + SHORTER_S_MIN
    while True:
        info = await calls.api(f"STREAM.INFO.{stream}")
        shorter = int(info["state"]["last_seq"]) < seq
        replicated = info["config"].get("num_replicas", 1) > 1
        if not shorter or not replicated or asyncio.get_running_loop().time() > deadline:
            return info
        await asyncio.sleep(RETRY_S)


def is_behind_bucket(stream: str) -> bool:
    return stream.startswith(BUCKET_PREFIXES)


def _json_of_stream(stream: StreamConfig) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": stream.name,
        "subjects": list(stream.subjects),
        "retention": "limits",
        "storage": "memory" if stream.memory else "file",
        "discard": "new" if stream.discard_new or stream.discard_new_per_subject else "old",
        "max_bytes": stream.max_bytes,
        "max_msgs": -1,
        "max_consumers": -1,
        "max_msgs_per_subject": stream.max_messages_per_subject or -1,
        "max_msg_size": stream.max_message_bytes or -1,
        "max_age": (stream.max_age_s or 0) * NANOSECONDS,
        "duplicate_window": stream.duplicate_window_s * NANOSECONDS,
        "allow_direct": stream.allow_direct,
    }
    if stream.discard_new_per_subject:
        config["discard_new_per_subject"] = True
    if stream.async_persist:
        config["persist_mode"] = "async"
    return _with_replicas(config, stream.replicas)


def _with_replicas(config: dict[str, Any], replicas: int) -> dict[str, Any]:
    """A replicated stream syncs what it acknowledges: JetStream does not offer it otherwise."""
    config = {**config, "num_replicas": replicas}
    if replicas > 1:
        config.pop("persist_mode", None)
    return config
