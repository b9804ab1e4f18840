"""How does a message of ours look on the broker's wire?

Pure encoding and decoding: publish lines, header blocks, acknowledgement subjects, the JSON of
JetStream's replies and the errors they mean. It does not know connections, time-outs or retries.
"""

from __future__ import annotations

import base64
import calendar
import functools
import re
import time
from typing import Any

import msgspec

from penstock_bus.port import (
    BusRefusal,
    Headers,
    NoResponders,
    Outage,
    StoredMessage,
    WrongSequence,
)

NO_RESPONDERS = 503
NOT_FOUND = 404
STATUS_HEARTBEAT = 100
END_OF_BATCH = 204

ERROR_WRONG_LAST_SEQUENCE = (10071, 10164)  # 10164: the same, without the sequence in its text
ERROR_STORE_FAILED = 10077  # the stream is full (or its disk): code 503, but repeating is no cure
ERROR_TOO_LARGE = 10054
ERROR_STREAM_NOT_FOUND = 10059
ERROR_STREAM_NAME_IN_USE = 10058
ERROR_DUPLICATE_IN_PROCESS = 10158
ERROR_PERMISSION = 403
ERROR_NO_PEERS = 10005
ERROR_NO_MESSAGE = 10037
CODE_UNAVAILABLE = 503
ERRORS_OF_ELECTIONS = (10007, 10009, 10041, 10048, 10118, 10167, 10202)
"""A cluster between two leaders, or a server that does not know the stream yet: ask again."""

HEADER_EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
HEADER_MESSAGE_ID = "Nats-Msg-Id"

REPLY_PREFIXES = ("_INBOX.", "_INBOX_", "_R_")

_HEADER_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_START = "NATS/1.0\r\n"
_STATUS_AT = 9  # "NATS/1.0 503 ..."
_STATUS_END = 12


class ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PublishAck(msgspec.Struct):
    """JetStream's reply to a publish."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


decode_publish_ack = msgspec.json.Decoder(PublishAck).decode
encode_json = msgspec.json.Encoder().encode


def check_subject(subject: str) -> None:
    """Refuses what would break the protocol line: white space, control characters, emptiness."""
    if not subject or " " in subject or not subject.isprintable():
        raise ValueError(f"not a subject: {subject!r}")


def publish_line(
    subject: str, reply: str, payload: bytes, headers: Headers | None, bytes_max: int
) -> bytes:
    """One PUB or HPUB command, ready for the socket. Raises BusRefusal above `bytes_max`: the
    broker would close the connection."""
    size = len(payload)
    if headers is None:
        if size > bytes_max:
            raise _too_large(subject, size, bytes_max)
        return f"PUB {subject} {reply} {size}\r\n".encode() + payload + b"\r\n"
    block = encode_headers(headers)
    size += len(block)
    if size > bytes_max:
        raise _too_large(subject, size, bytes_max)
    line = f"HPUB {subject} {reply} {len(block)} {size}\r\n".encode()
    return line + block + payload + b"\r\n"


def _too_large(subject: str, size: int, bytes_max: int) -> BusRefusal:
    return BusRefusal(ERROR_TOO_LARGE, f"{subject}: {size} bytes, the broker takes {bytes_max}")


def check_size(subject: str, payload: bytes, headers: Headers | None, bytes_max: int) -> None:
    """As `publish_line` refuses, for an adapter without a wire."""
    size = len(payload) + (len(encode_headers(headers)) if headers is not None else 0)
    if size > bytes_max:
        raise _too_large(subject, size, bytes_max)


@functools.lru_cache(maxsize=256)
def _is_header_key(key: str) -> bool:
    return _HEADER_KEY.fullmatch(key) is not None


def encode_headers(headers: Headers) -> bytes:
    """A header block; values keep no line breaks (ValueError), or a sender could forge headers."""
    text = _HEADER_START
    for key, value in headers.items():
        if not _is_header_key(key) or "\r" in value or "\n" in value:
            raise ValueError(f"not a header: {key!r}: {value!r}")
        text += f"{key}: {value}\r\n"
    return (text + "\r\n").encode()


def append_headers(
    headers: Headers | None, expected_last_seq: int | None, message_id: str | None
) -> Headers | None:
    """The caller's headers with the fence and the id of an append."""
    if expected_last_seq is None and message_id is None:
        return headers
    merged = dict(headers) if headers else {}
    if expected_last_seq is not None:
        merged[HEADER_EXPECTED_LAST_SEQUENCE] = str(expected_last_seq)
    if message_id is not None:
        merged[HEADER_MESSAGE_ID] = message_id
    return merged


def is_reply_subject(reply: str) -> bool:
    """May a service answer there? Only to inboxes: on any other subject a forged `reply` would make
    it publish where the asker may not."""
    return reply.startswith(REPLY_PREFIXES)


def decode_headers(block: bytes) -> dict[str, str]:
    """The key-value pairs of a header block, without its status line."""
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        key, colon, value = line.partition(":")
        if colon:
            headers[key] = value.strip()
    return headers


def decode_status(block: bytes | None) -> int:
    """The status of a message of the server itself (404, 408, 409, 503, …), or 0."""
    if block is None or block[8:9] != b" ":
        return 0
    digits = block[_STATUS_AT:_STATUS_END]
    return int(digits) if digits.isdigit() else 0


def decode_status_text(block: bytes) -> str:
    return block.partition(b"\r\n")[0][_STATUS_END:].decode("utf-8", "replace").strip()


def error_of_reply(payload: bytes, status: int, subject: str) -> Exception | None:
    """What a reply of the server means when it is not an answer."""
    if status == NO_RESPONDERS and not payload:
        return NoResponders(f"nobody answers on {subject}")
    return None


def error_of_api(error: ApiError, subject: str) -> Exception:
    """The typed error behind JetStream's error object."""
    if error.err_code in ERROR_WRONG_LAST_SEQUENCE:
        return WrongSequence(f"{subject}: {error.description}")
    if error.err_code != ERROR_STORE_FAILED and (
        error.code == CODE_UNAVAILABLE
        or error.err_code == ERROR_DUPLICATE_IN_PROCESS
        or error.err_code in ERRORS_OF_ELECTIONS
    ):
        return Outage(f"{subject}: {error.description} ({error.err_code})")
    return BusRefusal(error.err_code, f"{subject}: {error.description}")


class Position(msgspec.Struct, frozen=True):
    """Where a delivery stands: `delivery` counts from 1 per consumer, `seq` is the stream's."""

    seq: int
    delivery: int
    time_ns: int
    pending: int


def decode_position(reply: bytes) -> Position:
    """Reads `$JS.ACK.<stream>.<consumer>.<tries>.<seq>.<delivery>.<ns>.<pending>`, or the longer
    form with domain and account hash before the stream (ADR-15)."""
    tokens = reply.split(b".")
    at = 5 if len(tokens) == 9 else 7
    return Position(
        seq=int(tokens[at]),
        delivery=int(tokens[at + 1]),
        time_ns=int(tokens[at + 2]),
        pending=int(tokens[at + 3]),
    )


def decode_direct(payload: bytes, block: bytes) -> StoredMessage:
    """The stored message in the reply to a direct get; its own headers without the server's."""
    headers = decode_headers(block)
    subject = headers.pop("Nats-Subject")
    seq = int(headers.pop("Nats-Sequence"))
    time_ns = parse_time_ns(headers.pop("Nats-Time-Stamp"))
    for key in ("Nats-Stream", "Nats-Num-Pending", "Nats-Last-Sequence", "Nats-UpTo-Sequence"):
        headers.pop(key, None)
    return StoredMessage(subject, payload, seq, time_ns, headers or None)


def stored_message(message: dict[str, Any]) -> StoredMessage:
    """The message in the answer to a get at the stream's leader."""
    block = base64.b64decode(message["hdrs"]) if message.get("hdrs") else None
    headers = None if block is None else decode_headers(block)
    payload = base64.b64decode(message.get("data", ""))
    time_ns = parse_time_ns(message["time"])
    return StoredMessage(message["subject"], payload, message["seq"], time_ns, headers or None)


def parse_time_ns(text: str) -> int:
    """RFC 3339 in UTC with up to nine decimals, as Go prints it, in nanoseconds since 1970."""
    moment, _, fraction = text.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def decode_json(payload: bytes) -> dict[str, Any]:
    answer = msgspec.json.decode(payload)
    if not isinstance(answer, dict):
        raise Outage("the broker answered something that is not an object")
    return answer
