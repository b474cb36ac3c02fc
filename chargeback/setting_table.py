"""The aggregator's settings, listed: a row each, with the name that is flag, environment variable and YAML key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chargeback import setting_texts as texts
from chargeback.core.nodes import POOL_LABELS, PRICE_LABELS
from chargeback.core.owners.owners import LabelKeys, check_label_key
from chargeback.core.policy import APPROVER, BASES, FAULTED, IDLE, PLANS_FROM, SHARING

PREFIX = "CHARGEBACK_"

_KEYS = LabelKeys()


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
        help="how long what agents pushed is kept after its month is over, once that is closed",
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
        help="NAMESPACE/NAME of the agents' ServiceAccount: their tokens may push, each for its node of --cluster",
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
