"""`chargeback quota` as people use it: files in, findings, manifests and exit codes out, as docs/quotas.md says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.cluster.quota_files import read_objects
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.fix import mend
from chargeback.core.quota.lint import RULES, lint

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "deploy/examples/reference"
AS_WRITTEN, CORRECTED = REFERENCE / "as-written", REFERENCE / "corrected"
DEMO = ROOT / "chargeback/demo/quotas.yaml"
DOCS = (ROOT / "docs/quotas.md").read_text()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHARGEBACK_KUBECONFIG", "CHARGEBACK_QUOTAS", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["quota", *map(str, arguments)], input=stdin)


def write(folder: Path, *objects: dict[str, Any]) -> Path:
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return path


def quota(hard: dict[str, str], **fields: Any) -> dict[str, Any]:
    metadata = {"name": "gpu", "namespace": "team"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}} | fields


def test_every_fault_of_the_reference_is_found() -> None:
    """As first written: six errors and a hole, each at its object."""
    ended = run("lint", AS_WRITTEN, "--output", "json")
    assert ended.exit_code == 1
    findings = [f for f in json.loads(ended.stdout)["findings"] if f["severity"] != "info"]
    assert [(f["severity"], f["rule"], f["object"]) for f in findings] == [
        ("error", "injected-gpus", "LimitRange ml-production/gpu-limits"),
        ("error", "dead-key", "ResourceQuota ml-experiments/gpu"),
        ("error", "dead-key", "ResourceQuota ml-production/team-quota"),
        ("error", "refused-key", "ResourceQuota ml-production/team-quota"),
        ("error", "unknown-class", "ResourceQuota ml-production/team-quota"),
        ("error", "dead-key", "ResourceQuota ml-research/gpu"),
        ("warning", "uncovered-class", "Namespace ml-production"),
    ]
    assert all(f["what"] and f["mend"] and f["field"] for f in findings)


def test_the_corrected_reference_is_clean() -> None:
    """Not even an info."""
    ended = run("lint", CORRECTED)
    assert (ended.exit_code, ended.stdout) == (0, "error: 0, warning: 0, info: 0\n")


def test_the_fix_of_the_reference_is_the_corrected_reference() -> None:
    """What --fix prints and what we ship are the same objects, and the findings go to stderr."""
    ended = run("lint", "--fix", AS_WRITTEN)
    assert ended.exit_code == 1
    assert "(refused-key)" in ended.stderr
    shipped = [
        found
        for name in ("quotas.yaml", "limits.yaml")
        for found in yaml.safe_load_all((CORRECTED / name).read_text())
    ]
    printed = list(yaml.safe_load_all(ended.stdout))
    assert sorted(printed, key=str) == sorted(shipped, key=str)
    as_json = json.loads(run("lint", "--fix", "--output", "json", AS_WRITTEN).stdout)
    assert as_json["manifests"] == printed


def test_each_manifest_of_the_fix_says_what_was_done() -> None:
    """As a comment above it."""
    documents = run("lint", "--fix", AS_WRITTEN).stdout.removeprefix("---\n").split("\n---\n")
    assert all(document.startswith("# ") for document in documents)


def test_what_kubectl_prints_is_read_from_standard_input(tmp_path: Path) -> None:
    """A List, with fields that we do not use, nulls, and a status beside the spec."""
    found = quota({"limits.nvidia.com/gpu": "4"}, status={"hard": {"limits.nvidia.com/gpu": "4"}})
    found["metadata"]["managedFields"] = [{"manager": "kubectl", "time": "2026-10-01T00:00:00Z", "fieldsV1": {}}]
    found["metadata"]["labels"] = None
    listed = {"apiVersion": "v1", "kind": "List", "items": [found, {"kind": "ConfigMap", "metadata": {"name": "x"}}]}
    ended = run("lint", "-", stdin=yaml.safe_dump(listed))
    assert ended.exit_code == 1
    assert ended.stdout.startswith("error: ResourceQuota team/gpu: spec.hard[limits.nvidia.com/gpu] (dead-key)\n")


def test_a_cluster_without_quotas_is_no_error() -> None:
    """kubectl prints an empty List of it."""
    assert run("lint", "-", stdin="kind: List\nitems: []\n").exit_code == 0


def test_numbers_without_quotes_are_quantities(tmp_path: Path) -> None:
    """YAML's 1e1 and 8 are texts to Kubernetes."""
    path = tmp_path / "q.yaml"
    path.write_text(
        "kind: ResourceQuota\nmetadata: {name: gpu}\nspec: {hard: {requests.nvidia.com/gpu: 1e1, pods: 8}}\n"
    )
    (found,) = read_objects([path], LabelKeys()).quotas
    assert (dict(found.hard), found.label) == ({"requests.nvidia.com/gpu": "1e1", "pods": "8"}, "ResourceQuota gpu")


def test_nodes_in_the_files_are_counted(tmp_path: Path) -> None:
    """Guarantees are held against what they have together."""
    nodes = [
        {
            "kind": "Node",
            "metadata": {"name": f"n{n}"},
            "status": {"allocatable": {"nvidia.com/gpu": "4", "cpu": "8"}},
        }
        for n in range(2)
    ]
    annotated = quota({"requests.nvidia.com/gpu": "9"})
    annotated["metadata"] = annotated["metadata"] | {"annotations": {"gpu-chargeback/guaranteed-gpus": "9"}}
    (finding,) = lint(read_objects([write(tmp_path, annotated, *nodes)], LabelKeys()))
    assert finding.what.startswith("9 nvidia.com/gpu are guaranteed, the nodes have 8")


def test_nothing_to_mend_prints_nothing(tmp_path: Path) -> None:
    """So that a pipe into kubectl has nothing to do."""
    ended = run("lint", "--fix", CORRECTED)
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert mend(read_objects([CORRECTED], LabelKeys())) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- 1", "want objects as"),
        ("items: 1", "want objects as"),
        ("kind: ConfigMap\nmetadata: {name: x}", "none of ResourceQuota"),
        ("kind: Pod\nmetadata: {name: x}", "Pod x: Object missing required field `spec`"),
        ("", "none of ResourceQuota"),
        ("kind: ResourceQuota\nmetadata: {name: x}\nspec: {hard: [1]}", "ResourceQuota x: Expected `object"),
        ("kind: ResourceQuota\nmetadata: 1", "ResourceQuota : Expected `object"),
    ],
)
def test_files_that_cannot_be_read_are_wrong_use(tmp_path: Path, text: str, said: str) -> None:
    """Exit 2, with the file and what is wanted."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    ended = run("lint", path)
    assert ended.exit_code == 2
    assert str(path) in ended.stderr
    assert said in ended.stderr


def test_wrong_use(tmp_path: Path) -> None:
    """Both sources, none, one that is not there, a cluster that cannot be reached."""
    assert run("lint", AS_WRITTEN, "--kubeconfig", "x").exit_code == 2
    assert "no cluster here" in run("lint").stderr
    assert run("show").exit_code == 2
    assert run("show", "--quotas", tmp_path / "none.yaml").exit_code == 2
    assert "--kubeconfig=" in run("lint", "--kubeconfig", tmp_path / "none").stderr


@pytest.mark.parametrize(("gpus", "code", "fits"), [(7, 0, True), (8, 1, False)])
def test_fit_adds_up(gpus: int, code: int, fits: bool) -> None:
    """Nine of sixteen are used."""
    ended = run("fit", "ml-research", "--gpus", gpus, "--quotas", DEMO, "--output", "json")
    found = json.loads(ended.stdout)
    assert (ended.exit_code, found["fits"], found["estimate"]) == (code, fits, True)
    assert found["lines"][-1]["what"] == f"9 of 16 used, {gpus} asked: 7 left"


def test_fit_cannot_say_without_a_status() -> None:
    """A manifest knows no use: exit 1, and it says so."""
    ended = run("fit", "ml-research", "--gpus", 4, "--pods", 2, "--quotas", CORRECTED / "quotas.yaml")
    assert ended.exit_code == 1
    assert ended.stdout.endswith("estimate: 2 pods of 4 nvidia.com/gpu in ml-research: cannot say\n")


def test_fit_wants_a_namespace_that_is_there() -> None:
    """A slip of the pen must not read like room for everything."""
    ended = run("fit", "ml-reserch", "--gpus", 4, "--quotas", DEMO)
    assert (ended.exit_code, ended.stderr) == (2, "ml-reserch: no such namespace, and nothing that belongs to it\n")


def test_the_documented_rules_are_the_rules() -> None:
    """docs/quotas.md has each in order, with its severity."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", DOCS, re.MULTILINE)
    assert rows == [(rule.name, rule.severity) for rule in RULES]


def test_the_documented_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prints what docs/quotas.md shows."""
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```console\n\$ chargeback quota (.*)\n([^`]*)```", DOCS)
    assert len(blocks) == 3
    for command, output in blocks:
        assert run(*shlex.split(command)).stdout == output


def test_owners_are_those_of_the_rules_and_the_configured_label(tmp_path: Path) -> None:
    """no-cost-center: a namespace that a rule or another label key gives an owner is no finding."""
    names = {"by-rule": {}, "by-label": {"pays": "x"}, "nobody": {"cost-center": "x"}}
    spaces = [{"kind": "Namespace", "metadata": {"name": name, "labels": each}} for name, each in names.items()]
    path = write(tmp_path, *spaces)
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: r, namespaces: [by-*], cost-center: y}]")
    ended = run("lint", path, "--label-cost-center", "pays", "--owner-rules", rules, "--output", "json")
    found = [f["object"] for f in json.loads(ended.stdout)["findings"] if f["rule"] == "no-cost-center"]
    assert found == ["Namespace nobody"]
    rules.write_text("rules: [{name: r, nonsense: 1}]")
    ended = run("lint", path, "--owner-rules", rules)
    assert (ended.exit_code, str(rules) in ended.stderr) == (2, True)
