"""Are the broker's bytes read and written as its protocol says?"""

from __future__ import annotations

import asyncio

import pytest

from conftest import Eventually
from penstock_bus import wire
from penstock_bus.inbound import LINE_BYTES_MAX, Inbound
from penstock_bus.port import Appended, BusRefusal, Outage, WrongSequence
from penstock_bus.replies import ReplyBox
from penstock_bus.subjects import matches, overlap


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.b", "a.b", True),
        ("*.b", "a.c", False),
        ("a.*.c", "a.b.c.d", False),
    ],
)
def test_patterns_cover_subjects_as_at_the_broker(
    pattern: str, subject: str, expected: bool
) -> None:
    assert matches(pattern, subject) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.*", "*.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.*", "a.b.c", False),
        ("a.b", "a.c", False),
        (">", "x.y", True),
    ],
)
def test_patterns_overlap_when_some_subject_fits_both(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected and overlap(other, one) is expected


def test_publish_lines_count_bytes_not_characters() -> None:
    line = wire.publish_line("s", "r", "ü".encode(), None, 100)
    assert line == b"PUB s r 2\r\n\xc3\xbc\r\n"
    line = wire.publish_line("s", "", b"xy", {"K": "ü"}, 100)
    block = b"NATS/1.0\r\nK: \xc3\xbc\r\n\r\n"
    assert line == b"HPUB s  %d %d\r\n%bxy\r\n" % (len(block), len(block) + 2, block)
    with pytest.raises(BusRefusal):
        wire.publish_line("s", "", b"x" * 101, None, 100)


def test_headers_survive_the_way_there_and_back() -> None:
    headers = {"Nats-Msg-Id": "a:b", "Kind": "x  y", "Empty": ""}
    assert wire.decode_headers(wire.encode_headers(headers)) == headers


@pytest.mark.parametrize(
    ("block", "status", "text"),
    [
        (b"NATS/1.0 503\r\n\r\n", 503, ""),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", 404, "Message Not Found"),
        (b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 1\r\n\r\n", 100, "Idle Heartbeat"),
        (b"NATS/1.0\r\nA: b\r\n\r\n", 0, ""),
    ],
)
def test_the_status_line_of_the_broker_is_read(block: bytes, status: int, text: str) -> None:
    assert wire.decode_status(block) == status
    if status:
        assert wire.decode_status_text(block) == text


def test_positions_are_read_in_both_forms_of_the_acknowledgement_subject() -> None:
    short = wire.decode_position(b"$JS.ACK.JOBS.c1.1.42.7.1700000000123456789.3")
    long = wire.decode_position(b"$JS.ACK.hub.hash.JOBS.c1.1.42.7.1700000000123456789.3")
    longer = wire.decode_position(b"$JS.ACK._.hash.JOBS.c1.1.42.7.1700000000123456789.3.token")
    assert short == long == longer == wire.Position(42, 7, 1_700_000_000_123_456_789, 3)


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, expected_ns: int) -> None:
    assert wire.parse_time_ns(text) == expected_ns


@pytest.mark.parametrize(
    ("code", "err_code", "kind"),
    [
        (400, 10071, WrongSequence),
        (400, 10164, WrongSequence),
        (503, 10077, BusRefusal),  # full: repeating is no cure
        (503, 10008, Outage),
        (409, 10158, Outage),
        (400, 10054, BusRefusal),
        (404, 10059, BusRefusal),
    ],
)
def test_errors_of_the_broker_say_whether_repeating_helps(
    code: int, err_code: int, kind: type[Exception]
) -> None:
    error = wire.error_of_api(wire.ApiError(code, err_code, "x"), "s")
    assert type(error) is kind


async def test_a_reply_box_ends_each_call_once_by_reply_time_or_refusal(
    eventually: Eventually,
) -> None:
    box = ReplyBox("_INBOX.x")
    ended: list[tuple[str, bytes, Exception | None]] = []

    def expect(name: str, timeout_s: float) -> str:
        _, reply = box.expect(f"Ask.{name}", timeout_s, lambda p, _, e: ended.append((name, p, e)))
        return reply

    answered = expect("answered", 0.1)
    expect("late", 0.1)
    expect("refused", 60.0)
    expect("lost", 60.0)
    box.deliver(answered.encode(), b"", b"yes", None)
    box.deliver(answered.encode(), b"", b"again", None)
    box.deliver(b"_INBOX.x.999", b"", b"nobody's", None)
    assert ended == [("answered", b"yes", None)]
    box.refuse("ask.refused")  # the broker's words reach us in lower case
    await eventually(lambda: len(ended) == 3)
    box.fail_all("gone")
    box.fail_all("gone")
    await eventually(lambda: len(ended) == 4)
    await asyncio.sleep(0)
    errors = {name: error for name, _, error in ended}
    assert isinstance(errors["refused"], BusRefusal)
    assert isinstance(errors["late"], Outage) and isinstance(errors["lost"], Outage)
    assert len(box) == 0


def test_an_acknowledgement_is_an_answer_or_an_error() -> None:
    ack = wire.decode_publish_ack(b'{"stream":"S","seq":3,"duplicate":true,"domain":"x"}')
    assert Appended(ack.stream, ack.seq, ack.duplicate) == Appended("S", 3, True)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1_000])
async def test_messages_are_cut_right_however_the_bytes_arrive(piece: int) -> None:
    block = b"NATS/1.0\r\nA: b\r\n\r\n"
    stream = (
        b"PING\r\n"
        b"MSG a.b 1 5\r\nhe\r\nl\r\n"
        b"MSG a.b 2 reply.x 0\r\n\r\n"
        b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n"
        + b"HMSG c 3 %d %d\r\n%bxy\r\n" % (len(block), len(block) + 2, block)
        + b"HMSG c 4 reply %d %d\r\n%b\r\n" % (len(block), len(block), block)
        + b"+OK\r\nPONG\r\n"
    )
    got: list[tuple[object, ...]] = []
    control: list[bytes] = []
    inbound = Inbound(asyncio.Protocol(), lambda *m: got.append(m), control.append)
    for at in range(0, len(stream), piece):
        inbound.data_received(stream[at : at + piece])
    assert got == [
        (1, b"a.b", b"", b"he\r\nl", None),
        (2, b"a.b", b"reply.x", b"", None),
        (3, b"c", b"", b"xy", block),
        (4, b"c", b"reply", b"", block),
    ]
    assert control == [
        b"PING",
        b"-ERR 'Permissions Violation for Publish to \"x\"'",
        b"+OK",
        b"PONG",
    ]


async def test_a_line_without_end_ends_the_connection() -> None:
    inbound = Inbound(asyncio.Protocol(), lambda *m: None, lambda line: None)
    inbound.data_received(b"X" * (LINE_BYTES_MAX + 1))
    assert inbound.ended.done()
