"""How does a span become OTLP?

Only this file knows the OpenTelemetry SDK, whose import is slow; it is imported when traces are
wanted. It does not know where spans come from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from penstock_contracts.ids import span_id, trace_id
from penstock_metering.core.spans import ROOT_PHASE, SpanRecord

TIMEOUT_S = 5.0
TRACES_PATH = "/v1/traces"

_RESOURCE = Resource({"service.name": "penstock"})
_SCOPE = InstrumentationScope("penstock")


class Exporter:
    """Blocks while it sends; used from one thread."""

    def __init__(self, endpoint: str) -> None:
        base = endpoint.rstrip("/")
        url = base if base.endswith(TRACES_PATH) else base + TRACES_PATH
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=TIMEOUT_S)
        # The caller retries, counts and reports; the SDK's own log would repeat each failure.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

    def export(self, records: Sequence[SpanRecord]) -> bool:
        """Whether the collector has taken all of them."""
        return self._exporter.export([_span(r) for r in records]) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Ends a send that waits to be repeated."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _span(record: SpanRecord) -> ReadableSpan:
    is_root = record.phase == ROOT_PHASE
    return ReadableSpan(
        name=record.phase,
        context=_context(record.job_id, record.attempt, record.phase),
        parent=None if is_root else _context(record.job_id, 0, ROOT_PHASE),
        resource=_RESOURCE,
        attributes=record.attributes,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR if record.failed else StatusCode.UNSET),
        start_time=record.start_ns,
        end_time=record.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(job_id: str, attempt: int, phase: str) -> SpanContext:
    return SpanContext(
        trace_id=int(trace_id(job_id), 16),
        span_id=int(span_id(job_id, attempt, phase), 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
