"""A cluster that has no resource.k8s.io at all, as before DRA: nothing claims devices there, and nobody is warned."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.control_plane import AGGREGATOR_TOKEN, apply_shipped_rights, control_plane
from tests.cluster.quota_cluster import GPU, put_quota
from tests.cluster.serving import serving
from tests.programs import chargeback, wait_for

VERSIONS = ("v1", "v1beta1", "v1beta2")
WITHOUT = "--runtime-config=" + ",".join(f"resource.k8s.io/{version}=false" for version in VERSIONS)


def test_a_cluster_without_claims(tmp_path: Path) -> None:
    """All is known, by the server and by the commands, and the log has no warning of it."""
    with control_plane(tmp_path, flags=(WITHOUT,)) as plane:
        apply_shipped_rights(plane)
        plane.create("/api/v1/namespaces", "Namespace", "team")
        put_quota(plane, "team", {f"requests.{GPU}": "4"})
        with serving(plane, tmp_path / "data") as server:
            said = server.program.get_json
            wait_for("all tables", lambda: not said("/v1/quotas")["unknown"])
            assert not said("/v1/quotas/lint")["unknown"]
            assert said("/v1/quotas/fit?namespace=team&gpus=4")["fits"]
            log = [json.loads(line) for line in server.program.log.read_text().splitlines()]
            assert [line for line in log if line["event"] == "cluster not read"] == []
            assert len([line for line in log if line["event"] == "no such kind here"]) == 3
        kubeconfig = ("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN)))
        for command in (("show",), ("lint",), ("fit", "team", "--gpus", "4")):
            assert chargeback("quota", *command, *kubeconfig).stderr == b""
