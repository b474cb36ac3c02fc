"""The rules as objects of the Prometheus operator: `python -m dashboards.prometheus_rules` writes them.

Each file of dashboards/rules becomes the spec of one PrometheusRule, letter by letter: what is tested is what is
applied. A test holds the written file to the rules.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "dashboards/rules"
TARGET = ROOT / "deploy/manifests/components/prometheus-operator/rules.yaml"

HEAD = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gpu-chargeback-{name}
  namespace: gpu-chargeback
  labels:
    app.kubernetes.io/name: gpu-chargeback
    app.kubernetes.io/part-of: gpu-chargeback
spec:
"""


def rule_files() -> list[Path]:
    return sorted(RULES.glob("*.yaml"))


def manifest() -> str:
    """All of them, one document each."""
    first = "# Written by `make dashboards` out of dashboards/rules: change those.\n"
    return first + "---\n".join(
        HEAD.format(name=path.stem) + indent(path.read_text(encoding="utf-8"), "  ") for path in rule_files()
    )


if __name__ == "__main__":
    TARGET.write_text(manifest(), encoding="utf-8")
