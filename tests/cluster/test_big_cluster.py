"""A small big cluster: kwok's nodes, a scheduler, many pods under quotas. `make bench-cluster` does it twentyfold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane, apply_shipped_rights, control_plane
from tests.cluster.kwok import kwok
from tests.cluster.load import GPU, Load, create_all, delete_all, fill, patch_all, quota, wait_running
from tests.cluster.quota_page import status
from tests.cluster.serving import serving
from tests.programs import wait_for

LOAD = Load(nodes=50, pods=250, namespaces=10)
READY_WITHIN_S = 30
PEAK_MAX_BYTES = 400 * 2**20
FOLLOWS_WITHIN_S = 120


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """All pods admitted, bound and running on kwok's nodes."""
    with control_plane(tmp_path_factory.mktemp("big"), scheduler=True) as plane, kwok(plane):
        apply_shipped_rights(plane)
        fill(plane, LOAD)
        wait_running(plane)
        yield plane


def test_the_page_shows_what_the_controller_counts(plane: ControlPlane, tmp_path: Path) -> None:
    """Ready in time, within its memory, each tracked key equal; and equal again after a burst of changes."""
    asked = sum(status(plane, "used")[name, "gpus", f"requests.{GPU}"] for name in LOAD.names())
    assert asked == sum(int(body["spec"]["containers"][0]["resources"]["requests"].get(GPU, 0))
                        for _, body in LOAD.pod_calls())  # fmt: skip
    with serving(plane, tmp_path / "data") as server:
        assert server.ready_s < READY_WITHIN_S
        assert server.wait_equal(plane, READY_WITHIN_S) < READY_WITHIN_S
        burst(plane)
        server.wait_equal(plane, FOLLOWS_WITHIN_S)
        assert server.peak_bytes() < PEAK_MAX_BYTES


def burst(plane: ControlPlane) -> None:
    """Pods go and come, a quota grows, one goes, one comes, a namespace goes; the controller has counted them all."""
    first, second, third, last = (*LOAD.names()[:3], LOAD.names()[-1])
    gone = [f"{path}/{body['metadata']['name']}" for path, body in islice(LOAD.pod_calls(), 0, 100, 2)]
    delete_all(plane, gone)
    grown = {"spec": {"hard": {f"requests.{GPU}": "999"}}}
    patch_all(plane, [(f"/api/v1/namespaces/{first}/resourcequotas/gpus", grown)])
    delete_all(plane, [f"/api/v1/namespaces/{second}/resourcequotas/counts", f"/api/v1/namespaces/{last}"])
    create_all(plane, [quota(third, "more", {f"requests.{GPU}": "2", f"limits.{GPU}": "1"})])

    def counted() -> bool:
        hard, used = status(plane, "hard"), status(plane, "used")
        return (
            hard.get((first, "gpus", f"requests.{GPU}")) == 999
            and (third, "more", f"requests.{GPU}") in used
            and not any(namespace == last for namespace, _, _ in used)
        )

    wait_for("the controller", counted)
