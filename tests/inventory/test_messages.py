"""What does inventory make of the bytes that reach it, the bad ones too?"""

from __future__ import annotations

import pytest

from inventory.builders import (
    a_description,
    a_heartbeat,
    as_command,
    as_heartbeat,
    as_json,
    as_stored,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.nodes import Device
from penstock_inventory.core.events import Command, Described
from penstock_inventory.messages import Inbox

SAME = Device(uuid="u", index=0, model="m")


def test_a_description_becomes_an_event() -> None:
    inbox = Inbox()
    found = inbox.description(as_stored("n1", as_json(a_description("n1"))))
    assert list(found) == [Described(a_description("n1"))]
    assert not inbox.counters


@pytest.mark.parametrize(
    ("payload", "counter"),
    [
        (b'{"node": [', "descriptions_undecodable"),
        (b'{"x":' + b"[" * 100_000, "descriptions_undecodable"),
        (as_json(a_description("n2")), "descriptions_refused"),
        (as_json(a_description("n1", boot_id="")), "descriptions_undecodable"),
        (as_json(a_description("n1", cpu_milli=-1)), "descriptions_undecodable"),
        (as_json(a_description("n1", devices=(SAME, SAME))), "descriptions_refused"),
        (
            as_json(a_description("n1", labels={str(n): "" for n in range(100)})),
            "descriptions_undecodable",
        ),
    ],
    ids=range(7),
)
def test_a_description_that_makes_no_sense_is_counted_and_dropped(
    payload: bytes, counter: str
) -> None:
    inbox = Inbox()
    assert inbox.description(as_stored("n1", payload)) == ()
    assert inbox.counters == {counter: 1}


@pytest.mark.lesson(11)
def test_a_heartbeat_counts_for_the_node_of_its_subject_only() -> None:
    inbox = Inbox()
    assert inbox.heartbeat(as_heartbeat("n1", a_heartbeat("n1"))) == "n1"
    assert inbox.heartbeat(as_heartbeat("n1", a_heartbeat("n2"))) is None
    assert inbox.heartbeat(as_heartbeat("n1", b"{")) is None
    assert inbox.counters == {"heartbeats_misnamed": 1, "heartbeats_undecodable": 1}


def test_a_command_is_read_from_subject_and_payload() -> None:
    inbox = Inbox()
    wish = inbox.command(as_command("n1", "drain", b'{"deadline_s":5,"reason":"r","new":1}'))
    assert wish == Command("n1", "drain", "r", 5)
    assert inbox.command(as_command("n1", "cordon", b"")) == Command("n1", "cordon")


@pytest.mark.parametrize(
    ("verb", "payload", "code"),
    [
        ("explode", b"{}", "unknown_verb"),
        ("cordon", b"{", "malformed_json"),
        ("cordon", b'{"x":' + b"[" * 100_000, "malformed_json"),
        ("cordon", b'{"reason":5}', "invalid_field"),
        ("cordon", b'{"reason":"' + b"x" * 501 + b'"}', "invalid_field"),
        ("drain", b'{"deadline_s":-1}', "invalid_field"),
        ("drain", b'{"deadline_s":1000000000000}', "invalid_field"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(verb: str, payload: bytes, code: str) -> None:
    refusal = Inbox().command(as_command("n1", verb, payload))
    assert isinstance(refusal, Refusal) and refusal.code == code
    assert len(refusal.message) > 10
