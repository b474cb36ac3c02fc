"""Settings: one name in three spellings, and every problem at once."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from chargeback.config import SettingsError, read_settings
from chargeback.core.nodes import POOL_LABELS, PRICE_LABELS
from chargeback.core.policy import Policy
from chargeback.core.rating.dimensions import Dimensions
from tests.programs import chargeback


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("cluster: of-the-file\ncurrency: EUR\nmig-weight: 0.5\n")
    env = {"CHARGEBACK_CLUSTER": "of-the-environment", "CHARGEBACK_CURRENCY": "CHF", "PATH": "/"}
    settings = read_settings({"cluster": "of-the-flag"}, env, file)
    assert (settings.cluster, settings.currency, settings.mig_weight) == ("of-the-flag", "CHF", Fraction(1, 2))
    assert settings.policy.currency == "CHF"


def test_every_problem_is_named_with_its_source_and_what_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("timezone: Mars/Olympus\nnoise: 1\n")
    env = {"CHARGEBACK_GRACE": "soon", "CHARGEBACK_X": "1"}
    with pytest.raises(SettingsError) as refused:
        read_settings({"listen": "here", "sharing": "fair", "keep-bodies": "30d"}, env, file)
    said = str(refused.value)
    for part in (
        "--listen='here': want HOST:PORT",
        "--sharing='fair': want one of configured, active",
        "CHARGEBACK_GRACE='soon': want a duration",
        "--keep-bodies='30d': want days such as 400d, 62d or more",
        "timezone",
        "IANA",
        "noise: not a setting",
        "CHARGEBACK_X",
    ):
        assert part in said


def test_a_key_that_comes_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("grace: 5m\ntimezone: Asia/Tokyo\ngrace: 15m\n")
    with pytest.raises(SettingsError, match="'grace' comes twice"):
        read_settings({}, {}, file)


def test_a_null_in_the_file_is_no_name(tmp_path: Path) -> None:
    """In quotes it is one."""
    file = tmp_path / "settings.yaml"
    file.write_text("cluster: null\n")
    with pytest.raises(SettingsError, match="cluster: want a text"):
        read_settings({}, {}, file)
    file.write_text("cluster: 'null'\n")
    assert read_settings({}, {}, file).cluster == "null"


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"])
def test_beyond_loopback_somebody_must_be_known(listen: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="beyond loopback anybody could push"):
        read_settings({"listen": listen}, {})
    read_settings({"listen": listen, "agent-account": "ns/agent"}, {})
    read_settings({"listen": listen, "agent-tokens": str(tmp_path)}, {})


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.1.2.3:1"])
def test_loopback_needs_nothing(listen: str) -> None:
    assert read_settings({"listen": listen}, {}).listen.is_loopback


def test_what_kubernetes_sets_beside_a_service_is_no_setting_of_ours() -> None:
    env = {"CHARGEBACK_PORT": "tcp://10.0.0.1:10467", "CHARGEBACK_SERVICE_HOST": "10.0.0.1"}
    assert read_settings({}, env).cluster == "default"


def test_the_server_refuses_to_start_and_says_why() -> None:
    """Exit 2, all problems on stderr."""
    ended = chargeback("serve", "--listen", "0.0.0.0:1", "--currency", "euro", check=False)
    assert ended.returncode == 2
    assert "beyond loopback" in ended.stderr.decode()
    assert "--currency='euro': want an ISO 4217 code" in ended.stderr.decode()


def test_labels_of_owners_have_keys_that_kubernetes_takes() -> None:
    """And each its own."""
    keys = read_settings({"label-team": "example.com/team"}, {"CHARGEBACK_LABEL_TIER": "tier"}).label_keys
    assert (keys.cost_center, keys.team, keys.tier) == ("cost-center", "example.com/team", "tier")
    with pytest.raises(SettingsError) as refused:
        read_settings({"label-team": "gpu-tier", "label-cost-center": "-x"}, {})
    said = str(refused.value)
    assert "--label-cost-center='-x': want a Kubernetes label key" in said
    assert "--label-tier='gpu-tier': is the label of --label-team too: want a label of its own" in said


def test_what_of_nodes_prices_may_name() -> None:
    """A pool by one label instead of the clouds' own; labels in bytewise order, each once."""
    keys = read_settings({}, {}).node_keys
    assert (keys.pool, keys.priced) == (POOL_LABELS, PRICE_LABELS)
    flags = {"label-pool": "site/pool", "node-labels": "zone, site/rack ,zone"}
    keys = read_settings(flags, {}).node_keys
    assert (keys.pool, keys.priced) == (("site/pool",), ("site/rack", "zone"))
    with pytest.raises(SettingsError) as refused:
        read_settings({"label-pool": "-", "node-labels": "zone,a b"}, {})
    assert len(str(refused.value).splitlines()) == 2


def test_labels_that_are_kept_on_lines() -> None:
    """A key that is named for pods and namespaces is one; nine are too many."""
    assert read_settings({}, {}).label_keys.dimensions == Dimensions()
    text = "pod:app, namespace:site/env,namespace:app,pod:app,"
    assert read_settings({"dimensions": text}, {}).label_keys.dimensions == Dimensions(
        namespace=("app", "site/env"), pod=("app",)
    )
    many = [f"{of}:key-{n}" for n in range(8) for of in ("pod", "namespace")]
    assert len(read_settings({"dimensions": ",".join(many)}, {}).dimensions.pod) == 8
    for wrong, wanted in (
        ("node:zone", "'node:zone': want pod:KEY or namespace:KEY"),
        ("app", "'app': want pod:KEY or namespace:KEY"),
        ("pod:a b", "'pod:a b': want a Kubernetes label key"),
        (",".join([*many, "pod:ninth"]), "want up to 8 label keys"),
    ):
        with pytest.raises(SettingsError, match=re.escape(wanted)):
            read_settings({"dimensions": wrong}, {})


def test_the_first_version_of_the_policy() -> None:
    """All its fields are settings."""
    assert read_settings({}, {}).policy == Policy()
    values = {"sharing": "active", "basis": "usage", "plans-from": "quota", "faulted": "credit", "idle": "list"}
    policy = read_settings({**values, "approver": "other", "mig-weight": "0.5"}, {}).policy
    assert policy == Policy(
        sharing="active",
        basis="usage",
        plans_from="quota",
        faulted="credit",
        idle="list",
        approver="other",
        mig_weight=Fraction(1, 2),
    )


@pytest.mark.parametrize("text", ["1.5", "-0.1", "0.3333"])
def test_a_weight_that_is_none(text: str) -> None:
    """Times in parts of cards must fit 64 bits: it has three digits at most."""
    with pytest.raises(SettingsError, match="compute slices\\), with at most 3 digits"):
        read_settings({"mig-weight": text}, {})


def test_lines_are_kept_as_long_as_the_bodies_that_they_were_rated_from() -> None:
    with pytest.raises(SettingsError, match="--keep-lines='100d': shorter than CHARGEBACK_KEEP_BODIES='101d'"):
        read_settings({"keep-lines": "100d"}, {"CHARGEBACK_KEEP_BODIES": "101d"})
    assert read_settings({"keep-lines": "101d", "keep-bodies": "101d"}, {}).keep_lines == 101 * 86_400_000
