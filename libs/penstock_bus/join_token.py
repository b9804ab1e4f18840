"""What stands in the token with which a host joins?

Where the broker is, by which certificate it is known, and the invitation: a private key, with the
claims that let it in to ask. It does not know who is invited.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

PREFIX = "penstock-join-1."


class JoinToken(msgspec.Struct, frozen=True, array_like=True):
    """`fingerprint`: SHA-256 of the broker's certificate. Whoever holds `seed` holds the
    invitation."""

    url: str
    fingerprint: str
    claims: str
    seed: str

    def __repr__(self) -> str:
        return f"JoinToken({self.url})"


class NoToken(ValueError):
    """The text is no token; the sentence says why."""


def encode(token: JoinToken) -> str:
    text = base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=")
    return PREFIX + text.decode("ascii")


def decode(text: str) -> JoinToken:
    """Raises NoToken."""
    text = "".join(text.split())
    if not text.startswith(PREFIX):
        raise NoToken(f"this is no token of `penstock node invite`: one begins with {PREFIX}")
    body = text.removeprefix(PREFIX)
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.json.decode(data, type=JoinToken)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise NoToken("the token is damaged: copy all of it, it is one line") from error
