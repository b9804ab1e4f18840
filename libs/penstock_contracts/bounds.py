"""How long and how large may a value be that others send?

The types of fields that a less trusted party fills. Whatever is accepted ends in a journal entry,
which the broker takes only up to 1 MiB, and in SQL's BIGINT; so every text has a length and every
number a range, and a message outside them is refused where it arrives. It does not know the fields.
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

BIGINT_MAX = (1 << 63) - 1
INSTANT_MS_MAX = (1 << 43) - 1
"""In the year 2248: as nanoseconds it is still a BIGINT."""
INT32_MAX = (1 << 31) - 1

NAME_LETTERS_MAX = 128
DEVICE_LETTERS_MAX = 96
TEXT_LETTERS_MAX = 256
REASON_LETTERS_MAX = 500
MESSAGE_LETTERS_MAX = 2_000
"""What a node tells about an end; whoever writes it cuts it to this."""
ADDRESS_LETTERS_MAX = 253

NODE_LABELS_MAX = 64
NODE_FACTS_MAX = 64
OFFERS_MAX = 32
DEVICES_PER_NODE_MAX = 256
DEADLINE_S_MAX = 30 * 24 * 3600

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)"
_DEVICE = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$(?!\n)"
_HOST = r"^[A-Za-z0-9.:_%-]+$(?!\n)"

Number = Annotated[int, Meta(ge=0, le=BIGINT_MAX)]
"""A sequence, a count, nanoseconds."""
Instant = Annotated[int, Meta(ge=0, le=INSTANT_MS_MAX)]
"""Unix time in ms."""
Small = Annotated[int, Meta(ge=-INT32_MAX, le=INT32_MAX)]
"""An exit code, a signal, an index."""
Capacity = Annotated[int, Meta(ge=0, le=1_000_000_000)]
"""Milli-CPU or MiB."""

Name = Annotated[str, Meta(max_length=NAME_LETTERS_MAX)]
"""An id or a word that only programs read; whether it is known decides what it is worth."""
Label = Annotated[str, Meta(max_length=TEXT_LETTERS_MAX, pattern=_PRINTABLE)]
"""A text that people read, on one line."""
Identity = Annotated[str, Meta(min_length=1, max_length=NAME_LETTERS_MAX, pattern=_PRINTABLE)]
"""A boot: not empty."""
DeviceId = Annotated[str, Meta(max_length=DEVICE_LETTERS_MAX, pattern=_DEVICE)]
"""As short as that, because one grant may name thousands."""
Said = Annotated[str, Meta(max_length=MESSAGE_LETTERS_MAX)]
Address = Annotated[str, Meta(max_length=ADDRESS_LETTERS_MAX, pattern=_HOST)]
Port = Annotated[int, Meta(ge=1, le=65_535)]


def cut(text: str) -> str:
    """As much of a message as `Said` takes."""
    return text if len(text) <= MESSAGE_LETTERS_MAX else text[: MESSAGE_LETTERS_MAX - 1] + "…"
