"""`chargeback quota fit`: a manifest, how many pods, and wrong use; that of the API server is in tests/cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from chargeback.cli.main import main

DEMO = Path(__file__).resolve().parents[3] / "chargeback/demo/quotas.yaml"
GPU = "nvidia.com/gpu"


def fit(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["quota", "fit", *map(str, arguments)], input=stdin)


def deployment(gpus: int, replicas: int, **metadata: str) -> str:
    container = {"name": "main", "resources": {"limits": {GPU: gpus}}}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
    return yaml.safe_dump({"kind": "Deployment", "metadata": {"name": "serve", **metadata}, "spec": spec})


@pytest.mark.parametrize(
    ("gpus", "replicas", "arguments", "fits"),
    [(3, 2, (), True), (4, 2, (), False), (4, 2, ("--pods", 1), True), (7, 0, ("--pods", 1), True)],
)
def test_a_manifest_from_standard_input(gpus: int, replicas: int, arguments: tuple[object, ...], fits: bool) -> None:
    """Seven are left; it makes as many pods as it says, or as --pods says."""
    ended = fit(
        *("ml-research", "--pod", "-", "--quotas", DEMO, "--output", "json", *arguments),
        stdin=deployment(gpus, replicas),
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    assert (ended.exit_code, found["fits"]) == (0 if fits else 1, fits)
    assert found["ask"]["gpus"] == {GPU: str(gpus)}
    assert found["ask"]["pods"] == (arguments[1] if arguments else replicas)


def test_the_table_says_what_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(deployment(3, 2, namespace="ml-research"))
    ended = fit("ml-research", "--pod", path, "--quotas", DEMO)
    assert ended.stdout.endswith("estimate: 2 pods of 3 nvidia.com/gpu in ml-research: yes\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        ((), None, "either --gpus or --pod"),
        (("--gpus", 1, "--pod", "-"), "", "either --gpus or --pod"),
        (("--pod", "-", "--priority-class", "x"), "", "--pod says its own"),
        (("--pod", "-"), "", "-: nothing: want exactly one of Pod"),
        (("--pod", "-"), "a: [", "-: not YAML"),
        (("--pod", "-"), deployment(1, 1, namespace="other"), "metadata.namespace: other: want ml-research, or none"),
        (("--pod", "-"), deployment(1, 0), "Deployment serve makes no pod as it is: say how many with --pods"),
        (("--gpus", 99, "--resource", f"requests.{GPU}"), None, f"--resource: 'requests.{GPU}': want a GPU resource"),
        (("--gpus", 1, "--server"), None, "--server: no cluster here: want --kubeconfig"),
    ],
)
def test_wrong_use(arguments: tuple[object, ...], stdin: str | None, said: str) -> None:
    """Exit 2, and what is wanted."""
    ended = fit("ml-research", *arguments, "--quotas", DEMO, stdin=stdin)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_a_server_that_is_away_is_no_answer(tmp_path: Path) -> None:
    """Exit 2, with the reason: neither yes nor no."""
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "a", "user": {"token": "x"}}],
    }  # fmt: skip
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    ended = fit("ml-research", "--gpus", 1, "--server", "--quotas", DEMO, "--kubeconfig", path)
    assert ended.exit_code == 2
    assert ended.stderr.startswith("--server: /api/v1/namespaces/ml-research/pods: ")
