"""Which numbers does a process show to Prometheus?

Numbers are read, not pushed: a service counts in plain integers of its own state and registers a
source that lists them when somebody scrapes. So the hot path pays nothing, and prometheus_client
is imported at the first scrape only (an agent that nobody scrapes stays small). It does not know
HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(msgspec.Struct, frozen=True):
    """One number now. A None is unknown and left out; `labels` is the same set for one `name`."""

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    value: int | float | None
    labels: Mapping[str, str] = {}


MetricSource = Callable[[], Iterable[Metric]]


def event_counts(service: str, *counts: Mapping[str, int]) -> Iterator[Metric]:
    """What parts of a service have counted since the start, one counter with a label per kind."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    for kind, value in sorted(total.items()):
        description = "Events counted since the start, by kind."
        yield Metric(f"penstock_{service}_events", "counter", description, value, {"kind": kind})


class Metrics:
    """All sources of one process."""

    def __init__(self) -> None:
        self._sources: list[MetricSource] = []
        self._registry: CollectorRegistry | None = None

    def add(self, source: MetricSource) -> None:
        """Ask `source` at each scrape, on the event loop: it must not block."""
        self._sources.append(source)

    def render(self) -> bytes:
        """Everything in Prometheus' text format, and the process' CPU, memory and descriptors."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.process_collector import ProcessCollector

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            ProcessCollector(registry=self._registry)
            self._registry.register(_Families(self._sources))
        return generate_latest(self._registry)


class _Families:
    """The shape that prometheus_client's registry asks for: families out of single numbers."""

    def __init__(self, sources: list[MetricSource]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for source in self._sources:
            for metric in source():
                if metric.value is None:
                    continue
                family = families.get(metric.name)
                if family is None:
                    maker = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                    family = maker(metric.name, metric.description, labels=tuple(metric.labels))
                    families[metric.name] = family
                family.add_metric(tuple(metric.labels.values()), metric.value)
        yield from families.values()
