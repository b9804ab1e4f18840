"""Where in its output does a stored piece of it belong?

A message of LOGS holds the bytes that a rank wrote from an offset on, or, without bytes, says that
so many were dropped there: its node had no room to keep them until they could be stored. It does
not know who reads or writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

OFFSET_HEADER = "Penstock-Offset"
DROPPED_HEADER = "Penstock-Dropped"
DIGITS_MAX = 15


class Piece(msgspec.Struct, frozen=True):
    """Bytes from `offset` on, or `dropped` bytes that are nowhere any more."""

    offset: int
    data: bytes = b""
    dropped: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.dropped + len(self.data)

    def behind(self, offset: int) -> Piece:
        """What of it lies at `offset` or behind, when that is inside."""
        ahead = offset - self.offset
        if ahead <= 0:
            return self
        return Piece(offset, self.data[ahead:], max(0, self.dropped - ahead))


def headers_of(piece: Piece) -> dict[str, str]:
    headers = {OFFSET_HEADER: str(piece.offset)}
    if piece.dropped:
        headers[DROPPED_HEADER] = str(piece.dropped)
    return headers


def piece_of(payload: bytes, headers: Mapping[str, str] | None) -> Piece | None:
    """What a message holds; None when it does not say where it belongs, or both holds and lacks
    something (then it is not one of ours)."""
    offset = _number(headers, OFFSET_HEADER)
    if offset is None:
        return None
    if headers is None or DROPPED_HEADER not in headers:
        return Piece(offset, payload)
    dropped = _number(headers, DROPPED_HEADER)
    return None if payload or not dropped else Piece(offset, b"", dropped)


def _number(headers: Mapping[str, str] | None, name: str) -> int | None:
    text = (headers or {}).get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None
