"""Is every message declared once, stored where it says, and allowed to whom it says?"""

from __future__ import annotations

import re

from penstock_contracts import roles, streams
from penstock_contracts.message_type import CORE, SERVICE
from penstock_contracts.registry import BY_NAME, MESSAGES


def covers(pattern: str, subject: str) -> bool:
    """Whether a NATS subject pattern matches all that another one matches."""
    mine, theirs = pattern.split("."), subject.split(".")
    for index, token in enumerate(mine):
        if token == ">":
            return len(theirs) > index
        if index >= len(theirs) or (token != "*" and token != theirs[index]):
            return False
    return len(mine) == len(theirs)


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(MESSAGES)


def test_every_stored_message_is_captured_by_its_stream_and_by_no_other() -> None:
    for message in MESSAGES:
        if message.carrier in (CORE, SERVICE):
            continue
        capturing = [
            stream.name
            for stream in streams.STREAMS
            if any(covers(subject, message.wildcard) for subject in stream.subjects)
        ]
        assert capturing == [message.carrier], message.name


def test_core_messages_are_captured_by_no_stream() -> None:
    for message in MESSAGES:
        if message.carrier in (CORE, SERVICE):
            for stream in streams.STREAMS:
                assert not any(covers(s, message.wildcard) for s in stream.subjects), message.name


def test_streams_that_must_keep_everything_refuse_when_full_and_never_age() -> None:
    for stream in streams.STREAMS:
        if stream.name in ("REQUESTS", "REPORTS", "USAGE", "JOBS", "NODES"):
            assert stream.discard_new and stream.max_age_s is None


def test_only_the_declared_roles_may_publish_a_message() -> None:
    for role in roles.ROLES.values():
        for message in MESSAGES:
            own = role.name in ("node", "joiner")
            subject = roles.own_subject(message) if own else message.wildcard
            allowed = any(covers(pattern, subject) for pattern in role.publish)
            if role.name == "admin" and message.name.startswith("query_"):
                continue
            assert allowed == (role.name in message.writers), (role.name, message.name)


def test_a_node_may_publish_only_below_its_own_name() -> None:
    node = roles.ROLES["node"]
    for pattern in node.publish:
        if not pattern.startswith("penstock.v1.log."):
            assert "{{name()}}" in pattern, pattern


def test_whoever_asks_to_join_may_do_nothing_but_ask_in_the_name_of_its_own_key() -> None:
    joiner = roles.ROLES["joiner"]
    assert joiner.account == roles.PROVISION
    assert all(s.startswith("penstock.v1.provision.{{subject()}}.") for s in joiner.publish)
    assert joiner.subscribe == ("_INBOX_{{subject()}}.>",)
    assert joiner.payload_bytes_max and joiner.subscriptions_max


def test_the_registrar_may_only_tell_the_claims_of_the_account_it_is_named_after() -> None:
    registrar = roles.ROLES["registrar"]
    assert registrar.account == roles.SYSTEM
    assert registrar.publish == ("$SYS.REQ.ACCOUNT.{{name()}}.CLAIMS.UPDATE",)


def test_clients_and_nodes_can_neither_create_consumers_nor_write_streams() -> None:
    for name in ("client", "node"):
        for pattern in roles.ROLES[name].publish:
            assert not re.match(r"\$JS\.API\.(STREAM|CONSUMER)|\$KV|\$O|>|\$JS\.API\.>", pattern)


def test_every_registered_reader_may_read_its_stream() -> None:
    for stream, readers in streams.READERS.items():
        for reader in readers:
            role = roles.ROLES["scheduler" if reader == "facts" else reader]
            assert any(covers(p, f"$JS.API.CONSUMER.CREATE.{stream}.x.y") for p in role.publish)
