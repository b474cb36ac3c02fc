"""What the agent itself costs its node, as the kernel counts it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import ProcessCollector

_collector = ProcessCollector(registry=None)


def own_process() -> Mapping[str, float]:
    """By the names that every Prometheus client gives them (`process_cpu_seconds_total` …), in their base units.

    What the kernel does not tell (no /proc here) is absent.
    """
    return {sample.name: sample.value for metric in _collector.collect() for sample in metric.samples}
