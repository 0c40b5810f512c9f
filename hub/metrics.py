"""Counters in memory, exposed on scrape. Labels name channels, never customers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Counters(Collector):
    """``add`` is a dict increment; the exposition is built when somebody asks."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._gauges: dict[tuple[str, str], float] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, name: str, channel: str, outcome: str, amount: int = 1) -> None:
        self._counts[name, channel, outcome] += amount

    def set(self, name: str, label: str, value: float) -> None:
        self._gauges[name, label] = value

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for (name, channel, outcome), count in self._counts.items():
            family = families.setdefault(
                name, CounterMetricFamily(f"hub_{name}", f"{name} by outcome", labels=["channel", "outcome"])
            )
            family.add_metric([channel, outcome], count)
        yield from families.values()
        gauges: dict[str, GaugeMetricFamily] = {}
        for (name, label), value in self._gauges.items():
            gauge = gauges.setdefault(name, GaugeMetricFamily(f"hub_{name}", name.replace("_", " "), labels=["of"]))
            gauge.add_metric([label], value)
        yield from gauges.values()

    def exposition(self) -> bytes:
        return generate_latest(self._registry)
