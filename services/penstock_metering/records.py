"""How does a row look in the database?

Folds' records to column values and back. It does not run statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock_metering.core.rows import JobRow, LeaseRow
from penstock_metering.core.segments import Posting

_encode = msgspec.json.Encoder().encode


def read_job(row: Any) -> JobRow:
    values = dict(row._mapping)
    values["log_bytes"] = values["log_bytes"] and msgspec.json.decode(values["log_bytes"])
    return JobRow(**values)


def read_lease(row: Any) -> LeaseRow:
    values = dict(row._mapping)
    values["devices"] = tuple(msgspec.json.decode(values["devices"]))
    return LeaseRow(**values)


def job_values(job: JobRow) -> dict[str, Any]:
    values = msgspec.structs.asdict(job)
    values["message"] = job.message.replace("\0", "\ufffd")  # PostgreSQL's TEXT holds no NUL
    if job.log_bytes is not None:
        values["log_bytes"] = _encode(job.log_bytes).decode()
    return values


def lease_values(lease: LeaseRow) -> dict[str, Any]:
    values = msgspec.structs.asdict(lease)
    values["devices"] = _encode(lease.devices).decode()
    return values


def raw_values(posting: Posting, number: int) -> dict[str, Any]:
    lease_seq, job_id, rank, seq = posting.key
    return {
        "lease_seq": lease_seq, "job_id": job_id, "rank": rank, "seq": seq,
        "batch_number": number, "payload": posting.payload,
    }  # fmt: skip


def line_values(posting: Posting, number: int) -> Iterator[dict[str, Any]]:
    lease_seq, job_id, rank, seq = posting.key
    for device in posting.devices or ("",):
        yield {
            "lease_seq": lease_seq, "job_id": job_id, "rank": rank, "seq": seq, "device": device,
            "milli": posting.milli, "t0_ms": posting.t0_ms, "t1_ms": posting.t1_ms,
            "batch_number": number,
        }  # fmt: skip
