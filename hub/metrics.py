"""Counters in memory, exposed on scrape. Labels name channels, never customers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4  # of ``Counters.exposition``


class Counters(Collector):
    """``add`` is a dict increment; the exposition is built when somebody asks. Channel "": of the whole process."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._totals: dict[tuple[str, str], float] = {}
        self._gauges: dict[tuple[str, str], float] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, name: str, channel: str, outcome: str, amount: int = 1) -> None:
        self._counts[name, channel, outcome] += amount

    def total(self, name: str, channel: str, value: float) -> None:
        """Something that only grows and is counted elsewhere."""
        self._totals[name, channel] = value

    def set(self, name: str, channel: str, value: float) -> None:
        """How something is now."""
        self._gauges[name, channel] = value

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for (name, channel, outcome), count in self._counts.items():
            if name not in families:
                labels = ["channel", "outcome"]
                families[name] = CounterMetricFamily(f"hub_{name}", f"{_words(name)} by outcome", labels=labels)
            families[name].add_metric([channel, outcome], count)
        for kind, values in ((CounterMetricFamily, self._totals), (GaugeMetricFamily, self._gauges)):
            for (name, channel), value in values.items():
                if name not in families:
                    families[name] = kind(f"hub_{name}", _words(name), labels=["channel"])
                families[name].add_metric([channel], value)
        yield from families.values()

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


def _words(name: str) -> str:
    return name.replace("_", " ")
