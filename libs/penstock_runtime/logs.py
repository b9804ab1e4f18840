"""What does a service write to its log?

One JSON object a line on stderr: `ts`, `level`, `service`, `msg`, then whatever the caller passed
as `extra` (by convention `job`, `attempt`, `trace_id`, `node`), then `error` with the traceback. It
does not know where the lines go, nor keep any.

    log.warning("attempt lost", extra={"job": job_id, "attempt": 2})
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

_encoder = msgspec.json.Encoder(enc_hook=str)
_RECORD_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def configure_logging(service: str, level: str = "info") -> None:
    """Send all records at or above `level` to stderr as JSON; called once, at start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """Turns one record into one line without a line feed inside."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "msg": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _RECORD_ATTRIBUTES and name not in fields:
                fields[name] = value
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return _encoder.encode(fields).decode()
