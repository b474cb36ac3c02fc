"""The aggregator's settings: one frozen value from flags, then the environment, then the YAML file.

Each setting has one name in three spellings: `--agent-tokens`, `CHARGEBACK_AGENT_TOKENS`, `agent-tokens:`. All
problems are reported at once, with where the value came from, what was seen and what is wanted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from chargeback.core.agents import AgentAccount
from chargeback.core.months.closing import Limits
from chargeback.core.nodes import POOL_LABELS, NodeKeys
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.policy import Policy
from chargeback.core.rating.dimensions import Dimensions
from chargeback.files.plain_yaml import PlainLoader
from chargeback.setting_table import PREFIX, SETTINGS, Setting
from chargeback.setting_texts import Listen
from chargeback.store.database import sqlite_url
from chargeback.web_config import WebConfig

# What Kubernetes sets in every pod beside a Service called `chargeback` or `chargeback-…`: not meant for us.
_SERVICE_LINK = re.compile(PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


class SettingsError(ValueError):
    """What is wrong with the settings: one problem a line."""


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
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=PlainLoader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{file}: {error}")
        return {}
    if not isinstance(data, Mapping):
        problems.append(f"{file}: want a mapping of settings")
        return {}
    problems += [f"{file}: {key}: want a text" for key, value in data.items() if not isinstance(value, str)]
    return {key: value for key, value in data.items() if isinstance(value, str)}
