"""What does the mesh say, as a document other programs can read?

The AsyncAPI 3 document derived from the registry: one channel per message, with JSON Schemas of its
payloads and who may send and hear it. It does not know where it is stored.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock_contracts import jobs
from penstock_contracts.ids import ROOT
from penstock_contracts.journal import JobFact
from penstock_contracts.message_type import CORE, SERVICE, MessageType
from penstock_contracts.nodes import NodeFact
from penstock_contracts.output import DROPPED_HEADER, OFFSET_HEADER
from penstock_contracts.registry import MESSAGES
from penstock_contracts.streams import STREAMS

PARAMETERS: dict[str, str] = {
    "tenant": "Who the job is for: 1-63 letters, digits, '_' or '-'.",
    "job_id": "The ULID that the requester chose.",
    "fact": "One of: " + " ".join(jobs.FACT_NAMES) + ".",
    "request_seq": "Sequence of the request in REQUESTS, from its acknowledgement.",
    "node": "The node's name: 1-63 letters, digits, '_' or '-'.",
    "key": "The public key of whoever asks; the broker has checked it.",
    "verb": "cordon, uncordon, drain, fence or remove.",
    "attempt": "Attempt of the job, from 1.",
    "rank": "Rank within the job, from 0.",
    "stream": "stdout or stderr.",
}

JSON = "application/json"
BYTES = "application/octet-stream"
_PARAMETER = re.compile(r"\{(\w+)\}")


def document() -> dict[str, Any]:
    """The whole AsyncAPI 3 document, as JSON-ready data."""
    types = [m.payload for m in MESSAGES if m.payload is not None]
    types += [m.answer for m in MESSAGES if m.answer is not None]
    types += [JobFact, NodeFact]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Penstock",
            "version": "1",
            "description": "Every message of the mesh. Unknown fields are ignored; new fields come "
            "last and have defaults; anything else is a new root.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {
            "mesh": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "NATS 2.15"}
        },
        "channels": {m.name: _channel(m) for m in MESSAGES},
        "operations": {m.name: _operation(m) for m in MESSAGES},
        "components": {
            "messages": {
                name: message for m in MESSAGES for name, message in _messages(m, schema_of).items()
            },
            "schemas": components,
        },
        "x-journal-facts": {"JOBS": schema_of[id(JobFact)], "NODES": schema_of[id(NodeFact)]},
        "x-streams": [msgspec.to_builtins(stream) for stream in STREAMS],
    }


def _channel(message: MessageType) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": message.template,
        "description": message.summary,
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"}},
        "x-carrier": message.carrier,
        "x-key": message.key,
        "x-writers": list(message.writers),
        "x-readers": list(message.readers),
    }
    names = _PARAMETER.findall(message.subject)
    if names:
        channel["parameters"] = {name: {"description": PARAMETERS[name]} for name in names}
    if message.answer is not None:
        answer = f"{message.name}_answer"
        channel["messages"][answer] = {"$ref": f"#/components/messages/{answer}"}
    return channel


def _operation(message: MessageType) -> dict[str, Any]:
    """As a user of the mesh sees it: what clients write they send, what they read they receive."""
    operation: dict[str, Any] = {
        "action": "send" if "client" in message.writers else "receive",
        "channel": {"$ref": f"#/channels/{message.name}"},
        "messages": [{"$ref": f"#/channels/{message.name}/messages/{message.name}"}],
    }
    if message.answer is not None:
        answer = f"#/channels/{message.name}/messages/{message.name}_answer"
        operation["reply"] = {
            "address": {"location": "$message.header#/reply"},
            "messages": [{"$ref": answer}],
        }
    return operation


def _messages(message: MessageType, schema_of: dict[int, Any]) -> dict[str, Any]:
    if message.payload is None:
        offset = {"type": "string", "description": "Byte offset of the payload, decimal."}
        dropped = {"type": "string", "description": "How many bytes are dropped there, decimal."}
        properties = {OFFSET_HEADER: offset, DROPPED_HEADER: dropped}
        headers = {"type": "object", "properties": properties}
        raw = {"type": "string", "format": "binary"}
        body = {
            "summary": message.summary,
            "contentType": BYTES,
            "headers": headers,
            "payload": raw,
        }
        return {message.name: body}
    found = {
        message.name: {
            "summary": message.summary,
            "contentType": JSON,
            "payload": _payload(message, schema_of[id(message.payload)]),
        }
    }
    if message.answer is not None:
        found[f"{message.name}_answer"] = {
            "summary": f"Answer to {message.name}.",
            "contentType": JSON,
            "payload": schema_of[id(message.answer)],
        }
    return found


def _payload(message: MessageType, schema: dict[str, Any]) -> dict[str, Any]:
    """One payload, or one object that holds several."""
    if not message.many:
        return schema
    items = {"type": "array", "items": schema, "maxItems": jobs.JOBS_PER_REQUEST_MAX}
    packed = {"type": "object", "properties": {message.many: items}, "required": [message.many]}
    return {"oneOf": [schema, packed]}


def subject_table() -> str:
    """The subjects as a Markdown table."""
    lines = ["| subject | carrier | writers → readers | says |", "|---|---|---|---|"]
    for message in MESSAGES:
        carrier = message.carrier if message.carrier in (CORE, SERVICE) else f"`{message.carrier}`"
        who = f"{', '.join(message.writers)} → {', '.join(message.readers)}"
        lines.append(f"| `{message.subject}` | {carrier} | {who} | {message.summary} |")
    return f"Below `{ROOT}.`:\n\n" + "\n".join(lines) + "\n"


def stream_table() -> str:
    """The streams as a Markdown table."""
    lines = ["| stream | subjects | when full | bound | age |", "|---|---|---|---|---|"]
    for stream in STREAMS:
        full = "refuses" if stream.discard_new else "drops the oldest"
        age = f"{stream.max_age_s} s" if stream.max_age_s else "none"
        subjects = " ".join(f"`{subject.removeprefix(ROOT + '.')}`" for subject in stream.subjects)
        mib = stream.max_bytes // 1024**2
        lines.append(f"| `{stream.name}` | {subjects} | {full} | {mib} MiB | {age} |")
    return "\n".join(lines) + "\n"


def job_diagram() -> str:
    """The life of a job as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> submitted"]
    for state, followers in jobs.TRANSITIONS.items():
        lines += [f"    {state} --> {follower}" for follower in sorted(followers)]
        if not followers:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"]) + "\n"
