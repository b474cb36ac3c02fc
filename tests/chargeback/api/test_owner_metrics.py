"""What the metrics page says of owners, from a server that reads them from a file and rules from another."""

from __future__ import annotations

from pathlib import Path

from tests.chargeback.api.serving import NOW_MS, serving

NAMESPACES = """
apiVersion: v1
kind: List
items:
- {kind: Namespace, metadata: {name: alpha, labels: {cost-center: rd-001}}}
- {kind: Namespace, metadata: {name: beta, labels: {cost-center: RD_001, pays: other}}}
- {kind: Namespace, metadata: {name: gamma}}
"""
RULES = "rules:\n- {name: rest, namespaces: ['*'], team: ops}\n"
QUOTA = """
kind: ResourceQuota
metadata: {name: gpu, namespace: beta}
spec: {hard: {requests.nvidia.com/gpu: "4"}}
"""
HARD = (
    'chargeback_quota_hard{{cluster="lab",cost_center="{cost_center}",enforced="true",namespace="beta",'
    'resource="requests.nvidia.com/gpu",resourcequota="gpu",team="{team}"}} 4.0'
)


def write(folder: Path) -> dict[str, str]:
    """The files; the settings that name them."""
    texts = {"owners": NAMESPACES, "quotas": QUOTA, "owner_rules": RULES}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return {name: str(folder / f"{name}.yaml") for name in texts}


async def test_names_that_look_alike_are_counted_by_field(tmp_path: Path) -> None:
    """Zero where there are none, so that a rise is seen."""
    async with serving(tmp_path, **write(tmp_path)) as server:
        page = await server.metrics_with('chargeback_owner_lookalikes{field="cost_center"} 2.0')
        assert 'chargeback_owner_lookalikes{field="team"} 0.0' in page
        assert 'chargeback_owner_lookalikes{field="tier"} 0.0' in page
        assert HARD.format(cost_center="RD_001", team="ops") in page


async def test_label_keys_are_those_of_the_settings(tmp_path: Path) -> None:
    """After a restart with another key the new owner holds; the rules hold beside it."""
    settings = write(tmp_path)
    async with serving(tmp_path, **settings) as server:
        await server.metrics_with(HARD.format(cost_center="RD_001", team="ops"))
    async with serving(tmp_path, NOW_MS + 60_000, **settings, label_cost_center="pays") as server:
        page = await server.metrics_with(HARD.format(cost_center="other", team="ops"))
        assert 'chargeback_owner_lookalikes{field="cost_center"} 0.0' in page
