"""What a node says of driver work: begun and not ended, no earlier and no longer."""

from __future__ import annotations

import pytest

from chargeback.core.driver_work import announced

UPGRADE = "nvidia.com/gpu-driver-upgrade-state"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nvidia.com/mig.config.state", "pending"),
        ("nvidia.com/vgpu.config.state", "pending"),
        (UPGRADE, "pod-deletion-required"),
        (UPGRADE, "drain-required"),
        (UPGRADE, "pod-restart-required"),
        (UPGRADE, "a-step-of-next-year"),
        ("nvidia.com/gpu.deploy.dcgm-exporter", "paused-for-mig-change"),
        ("nvidia.com/gpu.deploy.device-plugin", "paused-for-driver-upgrade"),
    ],
)
def test_work_that_has_begun_is_announced_by_labels_or_annotations(key: str, value: str) -> None:
    rest = {"kubernetes.io/hostname": "n1", "nvidia.com/gpu.deploy.driver": "true"}
    assert announced({**rest, key: value}, {}) == f"{key}={value}"
    assert announced(rest, {key: value}) == f"{key}={value}"


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"nvidia.com/mig.config.state": "success", "nvidia.com/mig.config": "all-1g.10gb"},
        {"nvidia.com/mig.config.state": "failed"},
        {UPGRADE: "upgrade-done", "nvidia.com/gpu.deploy.dcgm": "true"},
        {UPGRADE: ""},
        {"nvidia.com/gpu.deploy.dcgm": "false", "example.com/gpu.deploy.dcgm": "paused-for-mig-change"},
        {"example.com/note": "pending"},
    ],
)
def test_work_that_has_ended_or_is_none_is_not(labels: dict[str, str]) -> None:
    assert announced(labels, labels) == ""


@pytest.mark.parametrize("state", ["upgrade-required", "cordon-required", "wait-for-jobs-required", "upgrade-failed"])
def test_an_upgrade_that_waits_leaves_the_meter_alone(state: str) -> None:
    """It may wait for days, and jobs still use the cards."""
    assert announced({UPGRADE: state}, {}) == ""
