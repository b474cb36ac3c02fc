"""The estimate whether pods fit, for programs: the same from the command and over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from chargeback.core.quota.fit import verdict
from chargeback.core.quota.fit_ask import Ask, FitLine, show


def fit_json(ask: Ask, lines: list[FitLine]) -> dict[str, Any]:
    """The estimate, for programs; quantities as text."""
    return {
        "estimate": True,
        "ask": {
            "namespace": ask.namespace,
            "pods": ask.pods,
            "priority_class": ask.pod.priority_class,
            "gpus": {name: show(number) for name, number in ask.gpus.items()},
        },
        "fits": verdict(lines),
        "lines": [asdict(line) for line in lines],
    }
