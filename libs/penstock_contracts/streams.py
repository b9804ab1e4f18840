"""What is a stream, and which streams does the mesh have?

One record per stream: everything the broker is configured with. Which message lives in which stream stands
with the message (`registry`). It does not know how a broker is asked to make one.
"""

from __future__ import annotations

import msgspec


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as `ensure_streams` makes it. Sizes in bytes, ages in seconds; None = no bound.

    `discard_new` refuses new messages when full instead of dropping old ones; `async_persist` asks the
    broker not to wait for the disk (telemetry only)."""

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
