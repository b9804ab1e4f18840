"""When does a credentials file run out, and which account is it of?

Reads claims of the user JWT inside a .creds file, unverified: the broker judges it, we only need to
be back with a newer one in time. It does not know connections."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import msgspec

RENEW_AT_SHARE = 0.67  # of what is left of the lifetime: the broker hangs up for good at its end

_BEGIN = "-----BEGIN NATS USER JWT-----"


class _User(msgspec.Struct, frozen=True):
    issuer_account: str = ""


class _Claims(msgspec.Struct):
    exp: int = 0
    iss: str = ""
    nats: _User = _User()


def expiry_s(path: str) -> int | None:
    """Seconds since 1970 at which the file's JWT ends; None when it never does or cannot be read
    (the broker will say so)."""
    claims = _claims_in(path)
    return claims.exp or None if claims is not None else None


def account_of(path: str) -> str | None:
    """Public key of the account that its user is in; None when it cannot be read."""
    claims = _claims_in(path)
    return claims.nats.issuer_account or claims.iss or None if claims is not None else None


def _claims_in(path: str) -> _Claims | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        token = lines[lines.index(_BEGIN) + 1]
        body = token.split(".")[1]
        claims = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.json.decode(claims, type=_Claims)
    except (OSError, ValueError, IndexError, binascii.Error, msgspec.MsgspecError):
        return None


def renewal_delay_s(expires_s: int, now_s: float) -> float:
    """How long to stay before asking for a newer credential."""
    return max(0.0, (expires_s - now_s) * RENEW_AT_SHARE)
