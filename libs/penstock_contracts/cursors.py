"""How does a reader of a stream say how far it has come?

A small value per stream and reader in one bucket, and a mark for a reader that nobody waits for any
more. It does not know who purges.
"""

from __future__ import annotations

import msgspec

BUCKET = "CURSORS"
DROPPABLE = ("metering",)
"""Readers that begin anew at what is left and state what they missed. Without any other the mesh
stands still, and nothing is to be gained."""


class Cursor(msgspec.Struct, frozen=True):
    """Everything up to `seq` is committed by the reader and needed by it no more."""

    seq: int


def cursor_key(stream: str, reader: str) -> str:
    return f"{stream}.{reader}"


def dropped_key(stream: str, reader: str) -> str:
    """Where a mark stands when the stream is not kept for the reader; its cursor stays."""
    return f"dropped.{stream}.{reader}"
