"""What does a valid name or id look like?

Names become subject tokens, so they are validated where they are made: a `.`, `*` or `>` in one
would silently form another subject. ULIDs are chosen by requesters; this file reads and forms them
from given time and randomness and never draws either.
"""

from __future__ import annotations

import hashlib
import re

ROOT = "penstock.v1"

TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {letter: value for value, letter in enumerate(_CROCKFORD)}

JOB_ID_REMEMBERED_MS = 7 * 24 * 3600 * 1000
"""Job ids are remembered this long after their own timestamp; older ones are refused."""
JOB_ID_AHEAD_MS_MAX = 10 * 60 * 1000
"""A job id whose timestamp lies further ahead than this is refused."""


def is_token(text: str) -> bool:
    """Whether `text` may stand as one token of a subject (1–63 letters, digits, `_`, `-`)."""
    return TOKEN.fullmatch(text) is not None


def is_ulid(text: str) -> bool:
    """Whether `text` is a ULID in canonical upper-case Crockford base 32 (26 characters)."""
    return ULID.fullmatch(text) is not None


def ulid(time_ms: int, randomness: int) -> str:
    """Forms a ULID from a Unix time in ms (48 bits) and 80 random bits."""
    number = (time_ms & (1 << 48) - 1) << 80 | randomness & (1 << 80) - 1
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def ulid_time_ms(text: str) -> int:
    """The Unix time in ms that a valid ULID carries."""
    number = 0
    for letter in text[:10]:
        number = number << 5 | _VALUE[letter]
    return number


def trace_id(job_id: str) -> str:
    """The W3C trace id of a job, 32 hex digits: one trace per job, the same on every derivation."""
    return hashlib.sha256(f"trace/{job_id}".encode()).hexdigest()[:32]


def span_id(job_id: str, attempt: int, phase: str) -> str:
    """The W3C span id of one phase of an attempt, 16 hex digits; the root is phase `job`, attempt
    0.
    """
    return hashlib.sha256(f"span/{job_id}/{attempt}/{phase}".encode()).hexdigest()[:16]


def traceparent(job_id: str, attempt: int, phase: str) -> str:
    """The W3C `traceparent` under which work inside that phase nests (sampled)."""
    return f"00-{trace_id(job_id)}-{span_id(job_id, attempt, phase)}-01"


def segment_id(lease_seq: int, job_id: str, attempt: int, rank: int, seq: int) -> str:
    """The derived id of a usage segment: the same content has the same id on every emission."""
    text = f"segment/{lease_seq}/{job_id}/{attempt}/{rank}/{seq}"
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def lease_key(lease_seq: int, job_id: str, rank: int) -> str:
    """Names one rank's lease on its node; an attempt's ranks on one node differ in `rank`."""
    return f"{lease_seq}/{job_id}/{rank}"
