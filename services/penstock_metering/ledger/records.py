"""How does a row look in the database?

Folds' records to values in the order of the columns, and back. It does not run statements.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.work import StoredOutput
from penstock_metering.core.rows import JobRow, LeaseRow
from penstock_metering.core.segments import Posting
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Row

GAP = "stream_gap"
"""The code of the finding that messages were gone before they were read."""

_encode = msgspec.json.Encoder().encode
_decode_outputs = msgspec.json.Decoder(tuple[StoredOutput, ...]).decode
_MESSAGE = JobRow.__struct_fields__.index("message")
_LOG_BYTES = JobRow.__struct_fields__.index("log_bytes")
_DEVICES = LeaseRow.__struct_fields__.index("devices")
_OUTPUTS = LeaseRow.__struct_fields__.index("outputs")


def read_job(row: Any) -> JobRow:
    values = dict(row._mapping)
    values["log_bytes"] = values["log_bytes"] and msgspec.json.decode(values["log_bytes"])
    return JobRow(**values)


def read_lease(row: Any) -> LeaseRow:
    values = dict(row._mapping)
    values["devices"] = tuple(msgspec.json.decode(values["devices"]))
    values["outputs"] = _decode_outputs(values["outputs"]) if values["outputs"] else ()
    return LeaseRow(**values)


def read_gaps(connection: sa.Connection) -> dict[str, int]:
    """The last message that is missing, of each stream of which some are."""
    odd = schema.anomalies
    rows = connection.execute(
        sa.select(odd.c.stream, sa.func.max(odd.c.seq).label("seq"))
        .where(odd.c.code == GAP)
        .group_by(odd.c.stream)
    )
    return {row.stream: row.seq for row in rows}


def job_values(job: JobRow) -> Row:
    values = list(msgspec.structs.astuple(job))
    values[_MESSAGE] = job.message.replace("\0", "\ufffd")  # PostgreSQL's TEXT holds no NUL
    sizes = job.log_bytes
    values[_LOG_BYTES] = None if sizes is None else _encode(sizes).decode()
    return tuple(values)


def lease_values(lease: LeaseRow) -> Row:
    values = list(msgspec.structs.astuple(lease))
    values[_DEVICES] = _encode(lease.devices).decode()
    values[_OUTPUTS] = _encode(lease.outputs).decode() if lease.outputs else None
    return tuple(values)


def line_values(posting: Posting, number: int) -> list[Row]:
    common = (posting.milli, posting.t0_ms, posting.t1_ms, number)
    if not posting.devices:
        return [(*posting.key, "", *common, None, None)]
    nothing = (None,) * len(posting.devices)
    measured = zip(
        posting.devices, posting.energy_mj or nothing, posting.used_milli_ms or nothing, strict=True
    )
    return [(*posting.key, device, *common, *what) for device, *what in measured]
