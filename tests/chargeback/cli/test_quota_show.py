"""`chargeback quota show` and `plans show` as people use them: files in, tables, JSON and CSV out."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from chargeback.cli.main import main
from chargeback.cli.quota.reports import read_report
from chargeback.cli.quota.tables import overview
from chargeback.config import read_settings
from chargeback.core.hours import HOUR_MS
from tests.chargeback.api.serving import serving
from tests.chargeback.store.bodies import body, gpu, holding

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "deploy/examples/reference"
DEMO = ROOT / "chargeback/demo/quotas.yaml"
GPU = "nvidia.com/gpu"
Object = dict[str, Any]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CHARGEBACK_KUBECONFIG", "CHARGEBACK_QUOTAS", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHARGEBACK_DATA", str(tmp_path / "no-ledger"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def as_json(*arguments: object) -> Any:
    ended = run(*arguments, "--output", "json")
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def write(folder: Path, objects: Iterable[Object]) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return path


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **metadata: Any) -> Object:
    meta = {"name": "gpu", "namespace": "team"} | metadata
    return {
        "kind": "ResourceQuota",
        "metadata": meta,
        "spec": {"hard": hard},
        "status": {"hard": hard, "used": used or {}},
    }


def pod(name: str, gpus: int, node: str | None = "n1", waits: str | None = None) -> Object:
    container = {"name": "main", "resources": {"limits": {GPU: str(gpus)}, "requests": {GPU: str(gpus)}}}
    said = [{"type": "PodScheduled", "status": "False", "message": waits}] if waits else []
    made = {"name": name, "namespace": "team", "uid": name, "creationTimestamp": "2026-10-03T14:00:00Z"}
    spec = {"containers": [container]} | ({"nodeName": node} if node else {})
    return {"kind": "Pod", "metadata": made, "spec": spec, "status": {"phase": "Running", "conditions": said}}


def refused(name: str, key: str, requested: str, used: str, limited: str) -> Object:
    said = f"exceeded quota: gpu, requested: {key}={requested}, used: {key}={used}, limited: {key}={limited}"
    return {
        "kind": "Event",
        "metadata": {"name": f"{name}.1", "namespace": "team", "uid": f"{name}-event"},
        "involvedObject": {"kind": "Job", "namespace": "team", "name": name},
        "reason": "FailedCreate",
        "message": f'Error creating: pods "{name}-x2x9k" is forbidden: {said}',
        "count": 4,
        "lastTimestamp": "2026-10-03T14:10:00Z",
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A namespace with all that can be said: two dead keys, a plan, holders, a refused job and a waiting pod."""
    hard = {f"requests.{GPU}": "8", f"limits.{GPU}": "32", GPU: "1", "pods": "10", "requests.memory": "1Ti"}
    used = {f"requests.{GPU}": "8", "pods": "9", "requests.memory": "256Gi"}
    objects = [
        quota(hard, used),
        {"kind": "Namespace", "metadata": {"name": "team", "annotations": {"gpu-chargeback/guaranteed-gpus": "4"}}},
        {"kind": "Node", "metadata": {"name": "n1", "uid": "n1"}, "status": {"allocatable": {GPU: "8", "cpu": "64"}}},
        pod("train-0", 4),
        pod("train-1", 2, None, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
        pod("web-7d4b9c6f5-x2x9k", 1),
        refused("big", f"requests.{GPU}", "3", "8", "8"),
        refused("small", "pods", "1", "10", "10"),
    ]
    return write(tmp_path, objects)


def test_a_row_of_each_gpu_key(cluster: Path) -> None:
    """Kubernetes' count, ours, and who holds it."""
    found = as_json("quota", "show", "--quotas", cluster)
    rows = {row.pop("resource"): row for row in found["quotas"]}
    holders = rows[f"requests.{GPU}"].pop("holders")
    assert rows[f"requests.{GPU}"] == {
        "namespace": "team", "quota": "gpu", "enforced": True, "hard": "8", "used": "8", "counted": "7",
        "counted_by": "kubernetes", "guaranteed": "4", "cap": "8", "saturation_s": 0.0,
    }  # fmt: skip
    dead = rows[f"limits.{GPU}"]
    assert (dead["enforced"], dead["used"], dead["counted"], dead["counted_by"]) == (False, None, "7", "us")
    assert rows[GPU]["saturation_s"] == 0.0
    assert [(holder["workload"], holder["bound"], holder["pending"]) for holder in holders] == [
        ("train", 4, 2),
        ("web", 1, 0),
    ]
    assert [pod["name"] for pod in holders[0]["pods"]] == ["train-0", "train-1"]


def test_what_surrounds_the_keys(cluster: Path) -> None:
    """The plan, other keys, what is refused by which key, what waits for a node, what nodes offer."""
    found = as_json("quota", "show", "team", "--quotas", cluster)
    (team,) = found["namespaces"]
    assert (team["plan"]["guaranteed"], team["plan"]["cap"], team["plan"]["held"]) == ("4", "8", "7")
    assert [(key["key"], key["used"], key["hard"]) for key in team["other_keys"]] == [
        ("pods", "9", "10"),
        ("requests.memory", "274877906944", "1099511627776"),
    ]
    assert team["closest"] == {"quota": "gpu", "key": "pods"}
    assert [(each["kind"], each["name"], each["gpus"], each["count"]) for each in team["refusals"]] == [
        ("Job", "big", True, 4),
        ("Job", "small", None, 4),
    ]
    assert team["refusals"][0]["keys"] == [
        {"quota": "gpu", "key": f"requests.{GPU}", "why": "exceeded", "requested": "3", "used": "8", "limited": "8"}
    ]
    assert team["waiting"] == [
        {
            "pod": "train-1",
            "requests": {GPU: 2},
            "since": "2026-10-03T14:00:00Z",
            "waits": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        }
    ]
    assert found["offered"] == {GPU: 8}
    assert (found["problems"], list(found["unknown"])) == ([], ["deviceclasses", "resourceclaims"])


def test_the_tables_of_a_namespace(cluster: Path) -> None:
    """The overview, what its marks mean, and all that surrounds it."""
    ended = run("quota", "show", "team", "--quotas", cluster)
    assert ended.exit_code == 0
    text = ended.stdout
    assert len(re.findall(r"gpu +nvidia\.com/gpu +train +2 +4 +2\n", text)) == 1
    assert re.search(r"gpu +requests\.memory +256Gi +1Ti +25%", text)
    assert re.search(r"Job big +gpu +requests\.nvidia\.com/gpu +3 +8 +8 +2026-10-03T14:10:00Z +4", text)
    assert re.search(r"train-1 +2 nvidia\.com/gpu +2026-10-03T14:00:00Z +0/1 nodes are available", text)
    assert re.search(r"gpu +pods +9 +10 +90%", text)
    assert "*: counted by us" in text
    assert (
        "Plan of nvidia.com/gpu: 4 guaranteed, 8 at most (by annotation, on quota gpu); 7 held or waited for." in text
    )


def test_the_overview_fits_into_a_hundred_columns(cluster: Path) -> None:
    """With every cell whole: nothing is cut off or wrapped."""
    report = read_report(read_settings({"quotas": str(cluster), "data": "/nonexistent"}, {}, None))
    out = Console(width=100, file=io.StringIO())
    with out.capture() as captured:
        out.print(overview(report))
    text = captured.get()
    assert re.search(r"team +gpu +limits\.nvidia\.com/gpu +7\* +32 +4–8 +3", text)
    assert re.search(r"team +gpu +requests\.nvidia\.com/gpu +8 \(7\) +8 +now", text)
    assert max(map(len, text.splitlines())) <= 100


def test_csv(cluster: Path) -> None:
    """A row a key; what nobody says is empty."""
    rows = list(
        csv.DictReader(io.StringIO(run("quota", "show", "--quotas", cluster, "--output", "csv").stdout, newline=""))
    )
    assert [(row["resource"], row["enforced"], row["used"], row["counted"]) for row in rows] == [
        (f"limits.{GPU}", "false", "", "7"),
        (GPU, "false", "", "7"),
        (f"requests.{GPU}", "true", "8", "7"),
    ]


def test_what_a_file_does_not_say_is_not_known() -> None:
    """Named on stderr; a question mark in the table, null in JSON, and no zero anywhere."""
    ended = run("quota", "show", "--quotas", DEMO)
    assert ended.exit_code == 0
    assert re.search(r"ml-production +gpu +limits\.nvidia\.com/gpu +\? +32 +\?", ended.stdout)
    assert ended.stderr.startswith("not known: plans by annotations of namespaces, own counts, holders")
    found = as_json("quota", "show", "ml-production", "--quotas", DEMO)
    assert [(row["counted"], row["holders"], row["counted_by"]) for row in found["quotas"]] == [
        (None, None, None),
        (None, None, "kubernetes"),
    ]
    (team,) = found["namespaces"]
    assert (team["refusals"], team["waiting"], team["idle"]) == (None, None, None)


@pytest.mark.parametrize("folder", ["as-written", "corrected"])
@pytest.mark.parametrize("plans_from", ["quota", "annotations"])
def test_the_plan_of_the_reference(folder: str, plans_from: str) -> None:
    """8 guaranteed, 32 at most, as first written (where policy takes pairs) and corrected (in any case)."""
    found = as_json("plans", "show", "--quotas", REFERENCE / folder, "--plans-from", plans_from)
    planned = {row["namespace"]: (row["guaranteed"], row["cap"]) for row in found}
    names = ("ml-experiments", "ml-production", "ml-research")
    ceiling = folder == "as-written" and plans_from == "annotations"
    assert planned == ({} if ceiling else dict.fromkeys(names, ("8", "32")))


def test_plans_in_three_forms(cluster: Path) -> None:
    """The same as a table, as JSON and as CSV; held counts all pods of the namespace."""
    row = {
        "namespace": "team", "resource": GPU, "guaranteed": "4", "cap": "8", "held": "7", "source": "annotation",
        "quota": "gpu",
    }  # fmt: skip
    assert as_json("plans", "show", "--quotas", cluster) == [row]
    text = run("plans", "show", "--quotas", cluster, "--output", "csv").stdout
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == [row]
    assert re.search(
        r"team +nvidia\.com/gpu +4 +8 +7 +annotation +gpu", run("plans", "show", "--quotas", cluster).stdout
    )


def test_plans_that_contradict_themselves(tmp_path: Path) -> None:
    """Named on stderr, exit 1, and no number in their place."""
    annotations = [{"gpu-chargeback/guaranteed-gpus": text} for text in ("8", "4")]
    quotas = [
        quota({f"requests.{GPU}": "16"}, name=name, annotations=each)
        for name, each in zip("ab", annotations, strict=True)
    ]
    ended = run("plans", "show", "--quotas", write(tmp_path, quotas))
    assert ended.exit_code == 1
    assert "ResourceQuota team/a: gpu-chargeback/guaranteed-gpus: 8, but ResourceQuota team/b says 4" in ended.stderr
    assert re.search(r"team +nvidia\.com/gpu +\? +16", ended.stdout)


def test_a_number_that_cannot_be_read(tmp_path: Path) -> None:
    """On stderr, and exit 1."""
    ended = run("quota", "show", "--quotas", write(tmp_path, [quota({f"requests.{GPU}": "many"})]))
    assert ended.exit_code == 1
    assert "ResourceQuota team/gpu: requests.nvidia.com/gpu: 'many'" in ended.stderr


def test_names_are_never_formulas(tmp_path: Path) -> None:
    """Nor markup: people choose them."""
    path = write(tmp_path, [quota({f"requests.{GPU}": "1"}, name="=1+1", namespace="[bold]x")])
    assert "[bold]x" in run("quota", "show", "--quotas", path).stdout
    assert "'=1+1" in run("quota", "show", "--quotas", path, "--output", "csv").stdout


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([{"kind": "Pod", "metadata": {"name": "x"}}], "Pod x: "),
        ([{"kind": "Secret", "metadata": {"name": "x"}}], "none of ResourceQuota, Namespace, Pod"),
        ([quota({f"requests.{GPU}": "1"}, namespace="")], "ResourceQuota gpu: metadata.namespace: missing"),
        ([quota({"pods": "1"})], "team: no GPU quota and no plan there"),
    ],
)
def test_wrong_use(tmp_path: Path, objects: list[Object], said: str) -> None:
    """Exit 2, with the file, the object and what is wanted."""
    ended = run("quota", "show", "team", "--quotas", write(tmp_path, objects))
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_no_source() -> None:
    """Neither a file nor a cluster."""
    said = "no cluster here: want --quotas FILE or --kubeconfig; `chargeback plans used` asks the ledger\n"
    for command in ("quota", "plans"):
        ended = run(command, "show")
        assert (ended.exit_code, ended.stderr) == (2, said)


def test_the_documented_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of `plans` prints what docs/quotas.md shows; those of `quota` have a test beside the others."""
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```console\n\$ chargeback (plans .*)\n([^`]*)```", (ROOT / "docs/quotas.md").read_text())
    assert [run(*command.split()).stdout for command, _ in blocks] == [output for _, output in blocks]
    assert blocks


async def test_what_is_idle_comes_from_the_ledger(cluster: Path, tmp_path: Path) -> None:
    """Of the running hour: half of what is known."""
    now_ms = time.time_ns() // 1_000_000
    until = 6 * 60_000  # a tenth of an hour; early in the hour the agent's clock is that much ahead
    held = holding(namespace="team", end=until, busy_ms=until // 2)
    pushed = body(
        hour=now_ms // HOUR_MS, through=until, final=False, gpus=[gpu(observed=[(0, until)])], holdings=[held]
    )
    (tmp_path / "data").mkdir()
    async with serving(tmp_path / "data", now_ms, cluster="lab") as server:
        assert (await server.put(pushed)).status == 200
    where = ("--data", tmp_path / "data", "--cluster", "lab", "--quotas", cluster)
    (team,) = as_json("quota", "show", "team", *where)["namespaces"]
    assert team["idle"] == {"ratio": 0.5, "held_gpu_hours": 0.1, "known_gpu_hours": 0.1}
    text = run("quota", "show", "team", *where).stdout
    assert "Idle: 50% of the 0.10 GPU hours held in hours not rated yet." in text
    said = run("quota", "show", "team", *where, "--cluster", "other").stderr
    assert "not known: what is idle: --cluster=other: the ledger has lab\n" in said
    (elsewhere,) = as_json("quota", "show", "team", *where, "--cluster", "other")["namespaces"]
    assert elsewhere["idle"] is None


def test_a_plan_that_cannot_be_seen_is_not_none(tmp_path: Path) -> None:
    """Without the Namespaces their annotations are not known; with them, and none on them, there is no plan."""
    ceiling = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpu", "namespace": "team"}}
    ceiling |= {"spec": {"hard": {f"requests.{GPU}": "8"}}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    alone, both = tmp_path / "alone.yaml", tmp_path / "both.yaml"
    alone.write_text(yaml.safe_dump(ceiling))
    both.write_text(yaml.safe_dump_all([ceiling, namespace]))
    assert [plan_shown(path) for path in (alone, both)] == ["?", ""]
    none = "team: no plan there: a bare quota is a ceiling"
    assert none not in run("plans", "show", "team", "--quotas", alone).stderr
    assert none in run("plans", "show", "team", "--quotas", both).stderr


def plan_shown(quotas: Path) -> str:
    """The cell of the only row."""
    settings = read_settings({"quotas": str(quotas)}, {})
    found = overview(read_report(settings))
    (column,) = (column for column in found.columns if column.header == "plan")
    (shown,) = column.cells
    return str(shown)
