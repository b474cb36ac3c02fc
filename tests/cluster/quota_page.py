"""Quotas as the aggregator's page shows them, beside quotas as the cluster's controller counts them."""

from __future__ import annotations

from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity  # not ours, so that a quantity we misread shows
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.control_plane import ControlPlane
from tests.cluster.load import quotas

Key = tuple[str, str, str]  # namespace, quota, resource


def samples(page: bytes, name: str, **labels: str) -> dict[Key, Decimal]:
    """A quota metric's samples that have these labels too."""
    return {
        (sample.labels["namespace"], sample.labels["resourcequota"], sample.labels["resource"]): Decimal(sample.value)
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    }


def status(plane: ControlPlane, field: str) -> dict[Key, Decimal]:
    """All keys that the controller counts; field: hard or used."""
    return {
        (found["metadata"]["namespace"], found["metadata"]["name"], key): parse_quantity(found["status"][field][key])
        for found in quotas(plane)
        for key in found.get("status", {}).get("used", {})
    }


def differences(plane: ControlPlane, page: bytes) -> list[str]:
    """Where the page differs from the controller: every GPU key it counts must be there, and nothing else may be.

    Of other resources the page may say nothing; what it says must be right.
    """
    found: list[str] = []
    for field in ("hard", "used"):
        shown = samples(page, f"chargeback_quota_{field}", enforced="true")
        counted = status(plane, field)
        wanted = {key for key in counted if key[2].startswith("requests.nvidia.com/")}
        found += [
            f"{field} of {'/'.join(key)}: shown {shown.get(key)}, counted {counted.get(key)}"
            for key in sorted(wanted | shown.keys())
            if shown.get(key) != counted.get(key)
        ]
    return found
