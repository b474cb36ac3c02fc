"""Policies over the plain manifests: least rights, safe containers, and names the programs really know."""

import importlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chargeback.cluster.kinds import kinds
from chargeback.core.agents import AUDIENCE
from chargeback.core.owners.owners import LabelKeys
from chargeback.store.schema import HOLD_PAUSE_S, HOLD_TRIES, HOLD_WITHIN_MS

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy/manifests"
DOCKERFILE = ROOT / "deploy/Dockerfile"

NAMESPACE = "gpu-chargeback"
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"}

Manifest = dict[str, Any]


def files() -> list[Path]:
    return [path for path in sorted(MANIFESTS.glob("*.yaml")) if path.name != "kustomization.yaml"]


def manifests() -> list[Manifest]:
    return [document for path in files() for document in yaml.safe_load_all(path.read_text()) if document]


def one(kind: str, name: str) -> Manifest:
    (found,) = [it for it in manifests() if it["kind"] == kind and it["metadata"]["name"] == name]
    return found


def workloads() -> list[Manifest]:
    return [one("DaemonSet", "gpu-exporter"), one("Deployment", "chargeback")]


def pod_of(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: Manifest) -> Manifest:
    (container,) = pod_of(workload)["containers"]
    found: Manifest = container
    return found


def environment(workload: Manifest) -> Iterator[tuple[str, str | None]]:
    """Names and, where they are written out, values; the ConfigMaps of envFrom included."""
    container = container_of(workload)
    for source in container.get("envFrom", []):
        yield from one("ConfigMap", source["configMapRef"]["name"])["data"].items()
    for variable in container["env"]:
        yield variable["name"], variable.get("value")


by_name = pytest.mark.parametrize("workload", workloads(), ids=lambda workload: workload["metadata"]["name"])


def test_every_object_is_complete_and_in_our_namespace() -> None:
    for manifest in manifests():
        assert manifest["apiVersion"]
        assert manifest["kind"] in CLUSTER_WIDE or manifest["metadata"]["namespace"] == NAMESPACE, manifest[
            "metadata"
        ]
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == NAMESPACE


def test_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in files()]


def test_components_are_for_who_asks_and_the_readme_names_each() -> None:
    """What they do to the agent is in tests/cluster/test_components.py."""
    assert "components" not in yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    found = {path.parent.name for path in MANIFESTS.glob("components/*/kustomization.yaml")}
    named = re.findall(r"\(components/([\w-]+)/kustomization.yaml\)", (MANIFESTS / "README.md").read_text())
    assert found == set(named) == {"mig", "gpu-operator", "prometheus-operator"}


def test_the_prometheus_operator_scrapes_both_programs_and_honours_their_labels() -> None:
    """By the ports that they have; its rules are compared in tests/dashboards/test_rules.py."""
    monitors = list(yaml.safe_load_all((MANIFESTS / "components/prometheus-operator/scrape.yaml").read_text()))
    programs = (one("Deployment", "chargeback"), one("DaemonSet", "gpu-exporter"))
    for monitor, workload in zip(monitors, programs, strict=True):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        (port,) = container_of(workload)["ports"]
        assert monitor["spec"]["podMetricsEndpoints"] == [{"port": port["name"], "honorLabels": True}]
    kustomization = yaml.safe_load((MANIFESTS / "components/prometheus-operator/kustomization.yaml").read_text())
    assert kustomization["resources"] == ["scrape.yaml", "rules.yaml"]


def test_the_api_rights_are_to_read_what_is_followed_and_the_aggregators_alone() -> None:
    """Every kind that `chargeback/cluster/kinds.py` follows, nothing else; and to ask whose a token is."""
    assert {it["kind"] for it in manifests()} & {"Role", "RoleBinding"} == set()
    (role,) = [it for it in manifests() if it["kind"] == "ClusterRole"]
    read = [rule for rule in role["rules"] if "create" not in rule["verbs"]]
    assert {verb for rule in read for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert {resource for rule in read for resource in rule["resources"]} == {each.name for each in kinds(LabelKeys())}
    assert [rule for rule in role["rules"] if rule not in read] == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    ]
    (binding,) = [it for it in manifests() if it["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "chargeback", "namespace": NAMESPACE}]


def test_the_agent_has_an_account_without_rights_and_only_a_token_for_the_aggregator() -> None:
    pod = pod_of(one("DaemonSet", "gpu-exporter"))
    account = one("ServiceAccount", pod["serviceAccountName"])
    assert pod["serviceAccountName"] == "gpu-exporter"
    assert (account["automountServiceAccountToken"], pod["automountServiceAccountToken"]) == (False, False)
    (projected,) = [volume["projected"] for volume in pod["volumes"] if "projected" in volume]
    (source,) = projected["sources"]
    assert source["serviceAccountToken"]["audience"] == AUDIENCE
    bound = {subject["name"] for it in manifests() if it["kind"].endswith("Binding") for subject in it["subjects"]}
    assert pod["serviceAccountName"] not in bound


def test_the_aggregator_takes_tokens_of_the_agents_account() -> None:
    account = one("ServiceAccount", "gpu-exporter")["metadata"]
    given = dict(environment(one("Deployment", "chargeback")))
    assert given["CHARGEBACK_AGENT_ACCOUNT"] == f"{account['namespace']}/{account['name']}"


def test_the_agent_sees_the_hosts_processes_and_two_of_its_folders() -> None:
    pod = pod_of(one("DaemonSet", "gpu-exporter"))
    assert pod["hostPID"] is True
    assert "hostNetwork" not in pod
    hosts = {volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    assert hosts == {"/var/lib/kubelet/pod-resources", "/var/lib/gpu-chargeback"}
    mounts = {mount["mountPath"]: mount for mount in container_of(one("DaemonSet", "gpu-exporter"))["volumeMounts"]}
    assert mounts["/var/lib/kubelet/pod-resources"]["readOnly"] is True
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_the_agents_priority_class_may_be_used_in_our_namespace() -> None:
    """GKE keeps such classes to namespaces with a quota that names them, and lets no agent start elsewhere."""
    spec = one("ResourceQuota", "gpu-exporter")["spec"]
    (term,) = spec["scopeSelector"]["matchExpressions"]
    assert (term["scopeName"], term["operator"]) == ("PriorityClass", "In")
    assert pod_of(one("DaemonSet", "gpu-exporter"))["priorityClassName"] in term["values"]
    assert int(spec["hard"]["pods"]) >= 100_000  # more nodes than any cluster has, and two pods of each in an update


def test_the_agent_takes_no_gpu_and_sees_all_of_them() -> None:
    agent = one("DaemonSet", "gpu-exporter")
    assert "nvidia" not in str(container_of(agent)["resources"])
    given = dict(environment(agent))
    assert given["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert given["NVIDIA_DRIVER_CAPABILITIES"] == "utility"
    (node,) = [it for it in container_of(agent)["env"] if it["name"] == "GPU_EXPORTER_NODE"]
    assert node["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}


def test_the_aggregator_meets_the_restricted_level_and_never_runs_twice() -> None:
    aggregator = one("Deployment", "chargeback")
    pod = pod_of(aggregator)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert not any(key in pod for key in ("hostPID", "hostNetwork", "hostIPC"))
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert (aggregator["spec"]["replicas"], aggregator["spec"]["strategy"]) == (1, {"type": "Recreate"})


def test_a_migration_that_waits_for_tables_is_not_killed() -> None:
    """It waits ten minutes for who uses them, and has at least as long again for its work."""
    probe = container_of(one("Deployment", "chargeback"))["startupProbe"]
    waited_s = HOLD_TRIES * (HOLD_WITHIN_MS / 1000 + HOLD_PAUSE_S)
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * waited_s


@by_name
def test_containers_are_locked_down(workload: Manifest) -> None:
    assert pod_of(workload)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container_of(workload)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in security


@by_name
def test_containers_have_requests_a_memory_limit_and_probes(workload: Manifest) -> None:
    container = container_of(workload)
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    (port,) = container["ports"]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}


@by_name
def test_images_have_a_version_which_is_ours(workload: Manifest) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    name, _, tag = container_of(workload)["image"].partition(":")
    assert tag == version
    images = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["images"]
    assert {"name": name, "newTag": version} in images


@by_name
def test_a_services_variables_do_not_land_among_our_settings(workload: Manifest) -> None:
    """Kubernetes would set CHARGEBACK_PORT for a Service called chargeback: an unknown setting to us."""
    assert pod_of(workload)["enableServiceLinks"] is False


@by_name
def test_what_is_mounted_exists(workload: Manifest) -> None:
    """Secrets are made by hand, as README.md says; all else is here."""
    readme = (MANIFESTS / "README.md").read_text()
    pod = pod_of(workload)
    assert {mount["name"] for mount in container_of(workload)["volumeMounts"]} == {
        it["name"] for it in pod["volumes"]
    }
    for volume in pod["volumes"]:
        if "secret" in volume:
            assert f"create secret generic {volume['secret']['secretName']} " in readme
        if "configMap" in volume:
            one("ConfigMap", volume["configMap"]["name"])
        if "persistentVolumeClaim" in volume:
            one("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])


@by_name
def test_files_named_in_the_environment_lie_in_a_mount(workload: Manifest) -> None:
    mounts = [mount["mountPath"] for mount in container_of(workload)["volumeMounts"]]
    paths = [value for _, value in environment(workload) if value and value.startswith("/")]
    assert paths
    assert all(any(path == mount or path.startswith(f"{mount}/") for mount in mounts) for path in paths)


def test_the_service_leads_to_the_aggregator_and_the_agents_push_there() -> None:
    service = one("Service", "chargeback")
    labels = one("Deployment", "chargeback")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    (served,) = container_of(one("Deployment", "chargeback"))["ports"]
    assert (port["targetPort"], port["port"]) == (served["name"], served["containerPort"])
    given = dict(environment(one("DaemonSet", "gpu-exporter")))
    assert given["GPU_EXPORTER_PUSH"] == f"http://chargeback.{NAMESPACE}.svc:{port['port']}"


def test_there_is_no_secret_in_the_files() -> None:
    assert "Secret" not in {it["kind"] for it in manifests()}


@pytest.mark.parametrize(
    ("kind", "name", "prefix", "module"),
    [
        ("DaemonSet", "gpu-exporter", "GPU_EXPORTER_", "exporter.config"),
        ("Deployment", "chargeback", "CHARGEBACK_", "chargeback.config"),
    ],
)
def test_the_programs_accept_the_settings_they_are_given(kind: str, name: str, prefix: str, module: str) -> None:
    """Names and values: they would refuse to start otherwise. What only the cluster can say stands as `x`."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not here yet")
    config = importlib.import_module(module)
    given = {variable: value or "x" for variable, value in environment(one(kind, name))}
    ours = {variable for variable in given if not variable.startswith("NVIDIA_")}
    assert all(variable.startswith(prefix) for variable in ours)
    assert ours - {setting.variable for setting in config.SETTINGS} == set()
    config.read_settings({}, given)


def test_the_example_prices_are_a_valid_price_book() -> None:
    price_file = pytest.importorskip("chargeback.files.prices")
    text = one("ConfigMap", "chargeback-prices")["data"]["prices.yaml"]
    currency = one("ConfigMap", "chargeback-settings")["data"]["CHARGEBACK_CURRENCY"]
    assert price_file.parse_prices(text, "prices.yaml").currency == currency


def test_dockerfile_installs_the_extras_and_runs_the_programs_we_have() -> None:
    text = DOCKERFILE.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {extra for group in re.findall(r"whl\)\[([\w,]+)\]", text) for extra in group.split(",")}
    assert extras == {"exporter", "chargeback", "postgres"}
    assert extras <= project["optional-dependencies"].keys()
    assert set(re.findall(r'^ENTRYPOINT \["([\w-]+)"\]$', text, re.MULTILINE)) == project["scripts"].keys()


def test_dockerfile_has_both_targets_on_a_named_version_and_no_root_in_the_aggregator() -> None:
    _, *stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)
    named = {stage.split()[2]: stage for stage in stages}
    assert {"agent", "aggregator"} <= named.keys()
    for name, stage in named.items():
        assert stage.split()[0] in {"python:3.12-slim", *named}, name
    assert "\nUSER 65532:65532\n" in named["aggregator"]


def test_dockerfile_copies_only_what_is_there() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
