"""The aggregator's settings: one frozen value from flags, then the environment, then the YAML file.

Each setting has one name in three spellings: `--agent-tokens`, `CHARGEBACK_AGENT_TOKENS`, `agent-tokens:`. All
problems are reported at once, with where the value came from, what was seen and what is wanted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from chargeback import setting_texts as texts
from chargeback.core.agents import AgentAccount
from chargeback.core.closing import Limits
from chargeback.core.dimensions import Dimensions
from chargeback.core.nodes import POOL_LABELS, PRICE_LABELS, NodeKeys
from chargeback.core.owners import LabelKeys, check_label_key
from chargeback.core.policy import APPROVER, BASES, FAULTED, IDLE, PLANS_FROM, SHARING, Policy
from chargeback.setting_texts import Listen
from chargeback.store.database import sqlite_url
from chargeback.web_config import WebConfig

PREFIX = "CHARGEBACK_"

# What Kubernetes sets in every pod beside a Service called `chargeback` or `chargeback-…`: not meant for us.
_SERVICE_LINK = re.compile(PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")

_KEYS = LabelKeys()


class SettingsError(ValueError):
    """What is wrong with the settings: one problem a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """name: as the flag without dashes. read: raises ValueError that says what is wanted."""

    name: str
    default: str
    help: str
    read: Callable[[str], Any]

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")


SETTINGS = (
    Setting(name="database", default="", read=texts.plain, help="SQLAlchemy URL; default: an SQLite file in --data"),
    Setting(name="data", default="./chargeback-data", read=texts.path, help="folder of the embedded database"),
    Setting(name="listen", default="127.0.0.1:10467", read=texts.listen, help="address and port to serve on"),
    Setting(
        name="web-config",
        default="",
        read=texts.web_config,
        help="TLS, client certificates and users of the listener, in the format of Prometheus' exporters",
    ),
    Setting(
        name="cluster", default="default", read=texts.name, help="name of the cluster whose API or files we read"
    ),
    Setting(
        name="kubeconfig", default="", read=texts.path, help="kubeconfig; default: the in-cluster account, if there"
    ),
    Setting(
        name="owners", default="", read=texts.path, help="YAML of Namespaces, as `kubectl get ns -o yaml` prints it"
    ),
    Setting(
        name="owner-rules",
        default="",
        read=texts.path,
        help="YAML of rules that name owners by namespace where labels do not; read again when it changes",
    ),
    Setting(
        name="label-cost-center", default=_KEYS.cost_center, read=check_label_key, help="label of the cost center"
    ),
    Setting(name="label-team", default=_KEYS.team, read=check_label_key, help="label of the team"),
    Setting(name="label-tier", default=_KEYS.tier, read=check_label_key, help="label of the GPU tier"),
    Setting(
        name="label-pool",
        default="",
        read=texts.label_key,
        help="label of a node's pool; default: the first there of " + ", ".join(POOL_LABELS),
    ),
    Setting(
        name="node-labels",
        default=",".join(PRICE_LABELS),
        read=texts.label_keys,
        help="labels of nodes that prices may name (comma-separated)",
    ),
    Setting(
        name="pod-labels",
        default="",
        read=texts.owner_fields,
        help="which of cost-center, team, tier a pod's own labels may say (comma-separated); default: none",
    ),
    Setting(
        name="dimensions",
        default="",
        read=texts.dimensions,
        help="labels to keep on lines, up to 8: pod:KEY or namespace:KEY (comma-separated); a pod's wins",
    ),
    Setting(
        name="quotas",
        default="",
        read=texts.path,
        help="YAML of ResourceQuotas, as `kubectl get resourcequotas -A -o yaml` prints it",
    ),
    Setting(name="prices", default="", read=texts.plain, help="YAML price book; `default`: the built-in list prices"),
    Setting(
        name="plans",
        default="",
        read=texts.path,
        help="YAML of plans (guarantee and cap), which go before annotations; read again when it changes",
    ),
    Setting(name="grace", default="10m", read=texts.duration_ms, help="how long after its end an hour is rated"),
    Setting(
        name="keep-bodies",
        default="400d",
        read=texts.days_ms,
        help="how long what agents pushed is kept after its month is over, once that is closed: it can be rated again",
    ),
    Setting(
        name="keep-lines",
        default="3653d",
        read=texts.days_ms,
        help="how long ledger lines are kept after their month is over, once that is closed; no less than bodies",
    ),
    Setting(
        name="draft-day",
        default="",
        read=texts.day_of_month,
        help="day of a month on which `serve` drafts the one before (1 to 28); default: never",
    ),
    Setting(
        name="min-coverage",
        default="0.95",
        read=texts.ratio,
        help="no month is drafted of which less of a cluster's card time was observed, unless waived",
    ),
    Setting(
        name="day-factor",
        default="3",
        read=texts.factor,
        help="no month is drafted in which a cluster's hour cost so many times more, or less, than on the day before",
    ),
    Setting(
        name="agent-tokens",
        default="",
        read=texts.path,
        help="file of `name sha256` lines: who may push",
    ),
    Setting(
        name="agent-account",
        default="",
        read=texts.account,
        help="NAMESPACE/NAME of the agents' ServiceAccount: their projected tokens may push, each for its own node",
    ),
    Setting(name="timezone", default="UTC", read=texts.timezone, help="whose midnights cut days and months"),
    Setting(name="currency", default="USD", read=texts.currency, help="of the ledger"),
    Setting(
        name="sharing",
        default="configured",
        read=texts.one_of(*SHARING),
        help="`configured`: unsold shares are idle; `active`: held shares carry the whole device",
    ),
    Setting(name="mig-weight", default="1", read=texts.weight, help="1: MIG by compute slices, 0: by memory slices"),
    Setting(
        name="basis",
        default="allocation",
        read=texts.one_of(*BASES),
        help="`allocation`: what is held is billed; `usage`: the busy part of it",
    ),
    Setting(
        name="plans-from",
        default="annotations",
        read=texts.one_of(*PLANS_FROM),
        help="`quota`: a quota's requests./limits. pair is guarantee and cap; else annotations only",
    ),
    Setting(
        name="faulted",
        default="bill",
        read=texts.one_of(*FAULTED),
        help="`bill`: a holder pays while the card is unhealthy; `credit`: not",
    ),
    Setting(
        name="idle",
        default="none",
        read=texts.one_of(*IDLE),
        help="who pays for idle cards at a month's close: `none` of the cost centers that held there, all of them "
        "`even`ly, or by their `list` amounts",
    ),
    Setting(
        name="approver",
        default="any",
        read=texts.one_of(*APPROVER),
        help="of a month: `any` person, or one `other` than who prepared it",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    database: str
    data: Path
    listen: Listen
    cluster: str
    kubeconfig: Path | None
    owners: Path | None
    owner_rules: Path | None
    label_cost_center: str
    label_team: str
    label_tier: str
    label_pool: str
    node_labels: tuple[str, ...]
    pod_labels: frozenset[str]
    dimensions: Dimensions
    quotas: Path | None
    prices: str
    plans: Path | None
    grace: int
    keep_bodies: int
    keep_lines: int
    draft_day: int | None
    min_coverage: Fraction
    day_factor: Fraction
    agent_tokens: Path | None
    agent_account: AgentAccount | None
    timezone: str
    currency: str
    sharing: str
    mig_weight: Fraction
    basis: str
    plans_from: str
    faulted: str
    idle: str
    approver: str
    web_config: WebConfig | None = None

    @property
    def database_url(self) -> str:
        return self.database or sqlite_url(self.data / "ledger.db")

    @property
    def limits(self) -> Limits:
        """Of a month that is to be closed."""
        return Limits(min_coverage=self.min_coverage, day_factor=self.day_factor)

    @property
    def label_keys(self) -> LabelKeys:
        return LabelKeys(
            cost_center=self.label_cost_center,
            team=self.label_team,
            tier=self.label_tier,
            dimensions=self.dimensions,
        )

    @property
    def node_keys(self) -> NodeKeys:
        return NodeKeys(pool=(self.label_pool,) if self.label_pool else POOL_LABELS, priced=self.node_labels)

    @property
    def policy(self) -> Policy:
        """The first version of the policy."""
        return Policy(
            sharing=self.sharing,
            mig_weight=self.mig_weight,
            basis=self.basis,
            plans_from=self.plans_from,
            faulted=self.faulted,
            idle=self.idle,
            approver=self.approver,
            timezone=self.timezone,
            currency=self.currency,
        )


def read_settings(flags: Mapping[str, str | None], env: Mapping[str, str], file: Path | None = None) -> Settings:
    """flags: by setting name, None where not given. Raises SettingsError with every problem."""
    problems: list[str] = []
    written = _read_file(file, problems) if file else {}
    known = {setting.name for setting in SETTINGS}
    problems += [f"{file}: {key}: not a setting" for key in sorted(written.keys() - known)]
    variables = {setting.variable for setting in SETTINGS} | {PREFIX + "CONFIG"}
    problems += [
        f"{name}: not a setting"
        for name in sorted(env)
        if name.startswith(PREFIX) and name not in variables and not _SERVICE_LINK.fullmatch(name)
    ]
    values: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for setting in SETTINGS:
        source, text = _find(setting, flags, env, written, file)
        seen[setting.name] = f"{source}={text!r}"
        try:
            values[setting.field] = setting.read(text)
        except ValueError as error:
            problems.append(f"{seen[setting.name]}: {error}")
    listen = values.get("listen")
    guarded = values.get("agent_tokens") is not None or values.get("agent_account") is not None
    web_config = values.get("web_config")
    guarded = guarded or (web_config is not None and not web_config.admits_strangers)
    if listen is not None and not listen.is_loopback and not guarded:
        wanted = "want --agent-tokens or --agent-account as well, or a --web-config that lets nobody else in"
        problems.append(f"{seen['listen']}: beyond loopback anybody could push: {wanted}")
    problems += _same_labels(values, seen)
    if values.get("keep_lines", 0) < values.get("keep_bodies", 0) and "keep_lines" in values:
        problems.append(
            f"{seen['keep-lines']}: shorter than {seen['keep-bodies']}: want lines kept as long as bodies"
        )
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)


def _same_labels(values: Mapping[str, Any], seen: Mapping[str, str]) -> Iterator[str]:
    """Two fields that would be read from one label of a namespace."""
    names = ("label-cost-center", "label-team", "label-tier")
    for one, other in itertools.combinations(names, 2):
        if values.get(one.replace("-", "_"), one) == values.get(other.replace("-", "_"), other):
            yield f"{seen[other]}: is the label of --{one} too: want a label of its own"


def _find(
    setting: Setting,
    flags: Mapping[str, str | None],
    env: Mapping[str, str],
    written: Mapping[str, str],
    file: Path | None,
) -> tuple[str, str]:
    """Where the value was found, and its text."""
    if (flag := flags.get(setting.name)) is not None:
        return f"--{setting.name}", flag
    if setting.variable in env:
        return setting.variable, env[setting.variable]
    if setting.name in written:
        return f"{file}: {setting.name}", written[setting.name]
    return f"--{setting.name}", setting.default


def _read_file(file: Path, problems: list[str]) -> dict[str, str]:
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{file}: {error}")
        return {}
    if not isinstance(data, Mapping):
        problems.append(f"{file}: want a mapping of settings")
        return {}
    problems += [f"{file}: {key}: want a text" for key, value in data.items() if not isinstance(value, str)]
    return {key: value for key, value in data.items() if isinstance(value, str)}
