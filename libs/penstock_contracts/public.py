"""What does the mesh tell those outside about a job?

The public fact on `job.<tenant>.<job>.<fact>` and the answer to a refused request. Both carry the
journal position they come from, so that a repeat is recognised. It does not know the journal's own
facts.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.journal import RefusedItem


class JobEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One public fact of a job. (`seq`, `index`) is its place in the JOBS journal: unique,
    ascending.

    `fact` is one of `FACT_NAMES`; `at_ms` Unix ms; `exit_code`, `signal`, `reason`, `message` and
    `log_bytes` (final offset per `<attempt>.<rank>.<stream>`) stand on terminal facts, `reason` and
    `message` also on `lost`; `nodes` on `placed`; a `rejected` carries its code as `reason`.
    """

    seq: int
    index: int
    job_id: str
    tenant: str
    fact: str
    attempt: int
    at_ms: int
    name: str = ""
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    nodes: tuple[str, ...] = ()
    log_bytes: dict[str, int] | None = None


class RequestRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why parts of the request stored as `request_seq` of REQUESTS were not accepted."""

    seq: int
    index: int
    tenant: str
    request_seq: int
    refused: tuple[RefusedItem, ...]
