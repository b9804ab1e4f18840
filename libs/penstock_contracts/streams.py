"""What is a stream, and which streams does the mesh have?

One record per stream: everything the broker is configured with. Which message lives in which
stream stands with the message (`registry`). It does not know how a broker is asked to make one.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import REQUEST_BYTES_MAX


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as `ensure_streams` makes it. Sizes in bytes, ages in seconds; None = no bound.

    `discard_new` refuses new messages when full instead of dropping old ones; `async_persist` asks
    the broker not to wait for the disk (telemetry only).
    """

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_message_bytes: int | None = None
    max_messages_per_subject: int | None = None
    max_age_s: int | None = None
    discard_new: bool = False
    discard_new_per_subject: bool = False
    allow_direct: bool = True
    memory: bool = False
    async_persist: bool = False
    replicas: int = 1
    duplicate_window_s: int = 120


MIB = 1024 * 1024
NODE_MESSAGE_BYTES_MAX = 768 * 1024
"""Reports and usage: what becomes of one fits one journal entry; agents pack far less."""
DESCRIPTION_BYTES_MAX = 512 * 1024
LOG_MESSAGE_BYTES_MAX = 256 * 1024
"""Agents cut output every 128 KiB."""
DAY_S = 86_400

STREAMS: tuple[StreamConfig, ...] = (
    StreamConfig(
        name="REQUESTS",
        subjects=("penstock.v1.request.job.*.*",),
        max_bytes=512 * MIB,
        max_message_bytes=REQUEST_BYTES_MAX,
        max_messages_per_subject=50_000,
        discard_new=True,
        discard_new_per_subject=True,
    ),
    StreamConfig(
        name="REPORTS",
        subjects=("penstock.v1.node.*.report",),
        max_message_bytes=NODE_MESSAGE_BYTES_MAX,
        max_bytes=1024 * MIB,
        discard_new=True,
    ),
    StreamConfig(
        name="DESCRIPTIONS",
        subjects=("penstock.v1.node.*.description",),
        max_message_bytes=DESCRIPTION_BYTES_MAX,
        max_bytes=256 * MIB,
        discard_new=True,
    ),
    StreamConfig(
        name="USAGE",
        subjects=("penstock.v1.usage.*",),
        max_bytes=1024 * MIB,
        max_message_bytes=NODE_MESSAGE_BYTES_MAX,
        discard_new=True,
    ),
    StreamConfig(
        name="JOBS", subjects=("penstock.v1.journal.jobs",), max_bytes=4096 * MIB, discard_new=True
    ),
    StreamConfig(
        name="NODES",
        subjects=("penstock.v1.journal.nodes",),
        max_bytes=512 * MIB,
        discard_new=True,
    ),
    StreamConfig(
        name="FACTS",
        subjects=("penstock.v1.job.*.*.*", "penstock.v1.refusal.*.*"),
        max_bytes=1024 * MIB,
        max_age_s=7 * DAY_S,
        async_persist=True,
    ),
    StreamConfig(
        name="LOGS",
        subjects=("penstock.v1.log.*.*.*.*.*",),
        max_message_bytes=LOG_MESSAGE_BYTES_MAX,
        max_bytes=4096 * MIB,
        max_age_s=7 * DAY_S,
    ),
    StreamConfig(
        name="SAMPLES",
        subjects=("penstock.v1.node.*.sample",),
        max_message_bytes=LOG_MESSAGE_BYTES_MAX,
        max_bytes=64 * MIB,
        max_age_s=900,
        memory=True,
    ),
    StreamConfig(
        name="METERED",
        subjects=("penstock.v1.metered.*.usage",),
        max_bytes=1024 * MIB,
        max_age_s=7 * DAY_S,
    ),
    StreamConfig(
        name="BUDGETS", subjects=("penstock.v1.budget.*.*",), max_bytes=64 * MIB, discard_new=True
    ),
)
"""Requests, reports, usage and the journals refuse when full and never age: nothing needed is
discarded. Facts, logs, samples and events of use are copies for readers and age out.
"""

SECRETS = "SECRETS"
FILES = "FILES"
BUCKETS: tuple[str, ...] = ("CURSORS", "LOCKS", SECRETS)
OBJECT_BUCKETS: tuple[str, ...] = ("SNAPSHOTS", FILES)
"""What the depot keeps is the gateway's alone; the others are the services'."""

OWNERS: dict[str, str] = {
    "REQUESTS": "scheduler",
    "REPORTS": "scheduler",
    "DESCRIPTIONS": "inventory",
    "JOBS": "scheduler",
    "NODES": "inventory",
    "USAGE": "metering",
    "BUDGETS": "metering",
}
"""Who purges a stream, once every reader has committed what is purged."""

READERS: dict[str, tuple[str, ...]] = {
    "REQUESTS": ("scheduler",),
    "REPORTS": ("scheduler",),
    "DESCRIPTIONS": ("inventory",),
    "JOBS": ("facts", "metering"),
    "NODES": ("scheduler", "metering"),
    "USAGE": ("metering",),
    "BUDGETS": ("scheduler",),
}
"""Registered readers per stream; each publishes its committed cursor as `<stream>.<reader>` in
CURSORS.
"""
