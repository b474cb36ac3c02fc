"""The agent's settings: one frozen value from flags, then the environment, then the YAML file.

Each setting has one name in three spellings: `--push-token-file`, `GPU_EXPORTER_PUSH_TOKEN_FILE`,
`push-token-file:`. All problems are reported at once, with where the value came from, what was seen and what is
wanted.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from exporter.kubelet import SOCKET_PATH
from exporter.web_config import WebConfig, read_web_config
from exporter.wire import HOUR_MS

PREFIX = "GPU_EXPORTER_"
BEAT_MIN_MS, BEAT_MAX_MS = 1_000, 10 * 60_000  # below, the driver's own samples are older than a beat
DEFAULT_SCENARIO = "default"
# What Kubernetes sets in every pod beside a Service called `gpu-exporter` or `gpu-exporter-…`: not meant for us.
_SERVICE_LINK = re.compile(PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000}
_NAME_MAX = 253  # of a Kubernetes object, and on the wire


class SettingsError(ValueError):
    """What is wrong with the settings: one problem a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Whole UTC hours, [from_ms, until_ms) in unix ms."""

    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """name: as the flag without dashes. read: raises ValueError that says what is wanted."""

    name: str
    default: str
    metavar: str
    help: str
    read: Callable[[str], Any]

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")


def _name(text: str) -> str:
    if not 1 <= len(text) <= _NAME_MAX:
        raise ValueError(f"want a name of 1 to {_NAME_MAX} characters")
    return text


def _path(text: str) -> Path:
    if not text:
        raise ValueError("want a path")
    return Path(text)


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("want HOST:PORT such as 0.0.0.0:10466")
    return Listen(host=host.strip("[]") or "0.0.0.0", port=int(port))


def _beat_ms(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})(ms|s|m)", text)
    beat_ms = int(match[1]) * _UNIT_MS[match[2]] if match else 0
    if not BEAT_MIN_MS <= beat_ms <= BEAT_MAX_MS:
        raise ValueError("want a duration from 1s to 10m such as 10s")
    return beat_ms


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("want on or off")
    return text == "on"


def _url(text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("want the aggregator's URL such as https://chargeback.example:10467")
    return text


def _replay(text: str) -> Replay | None:
    if not text:
        return None
    wanted = "want FROM..UNTIL, UTC hours or dates such as 2026-09-01..2026-09-02T12Z, FROM before UNTIL"
    first, dots, until = text.partition("..")
    if not dots:
        raise ValueError(wanted)
    try:
        replay = Replay(from_ms=_hour_ms(first), until_ms=_hour_ms(until))
    except ValueError:
        raise ValueError(wanted) from None
    if replay.from_ms >= replay.until_ms:
        raise ValueError(wanted)
    return replay


def _hour_ms(text: str) -> int:
    pattern = "%Y-%m-%dT%HZ" if "T" in text else "%Y-%m-%d"
    hour = datetime.strptime(text, pattern).replace(tzinfo=UTC)
    return int(hour.timestamp()) // 3600 * HOUR_MS


def _text(text: str) -> str:
    return text


def _web_config(text: str) -> WebConfig | None:
    return read_web_config(Path(text)) if text else None


SETTINGS = (
    Setting(name="cluster", default="default", metavar="NAME", read=_name, help="name of this cluster"),
    Setting(
        name="node",
        default=socket.gethostname(),
        metavar="NAME",
        read=_name,
        help="name of this node in Kubernetes; default: the host name, which in a pod is the pod's",
    ),
    Setting(
        name="listen", default="0.0.0.0:10466", metavar="HOST:PORT", read=_listen, help="where to serve /metrics"
    ),
    Setting(
        name="web-config",
        default="",
        metavar="FILE",
        read=_web_config,
        help="TLS, client certificates and users of the listener, in the format of Prometheus' exporters",
    ),
    Setting(name="beat", default="10s", metavar="DURATION", read=_beat_ms, help="how often the node is looked at"),
    Setting(
        name="kubelet-socket",
        default=str(SOCKET_PATH),
        metavar="PATH",
        read=_path,
        help="the kubelet's PodResources socket; mount its directory",
    ),
    Setting(name="proc", default="/proc", metavar="DIR", read=_path, help="the node's procfs, with host pids"),
    Setting(
        name="links",
        default="off",
        metavar="on|off",
        read=_on_off,
        help="read PCIe and NVLink traffic too, which takes 40 ms a card and beat",
    ),
    Setting(
        name="spool",
        default="",
        metavar="DIR",
        read=_optional_path,
        help="keeps hours until they are acknowledged; without it they are kept in memory",
    ),
    Setting(
        name="push", default="", metavar="URL", read=_url, help="the aggregator; without it only /metrics is served"
    ),
    Setting(
        name="push-token-file",
        default="",
        metavar="FILE",
        read=_optional_path,
        help="bearer token for the aggregator, read anew for each request",
    ),
    Setting(
        name="simulate",
        default="",
        metavar="FILE",
        read=_text,
        help=f"simulate the node that FILE describes, or a small one (`{DEFAULT_SCENARIO}`); needs no card",
    ),
    Setting(
        name="replay",
        default="",
        metavar="FROM..UNTIL",
        read=_replay,
        help="push these UTC hours of a simulated node as fast as it goes, then end",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """beat: in ms. simulate: a scenario file, `default`, or empty for a real node."""

    cluster: str
    node: str
    listen: Listen
    beat: int
    kubelet_socket: Path
    proc: Path
    links: bool
    spool: Path | None
    push: str
    push_token_file: Path | None
    simulate: str
    replay: Replay | None
    web_config: WebConfig | None = None


def read_settings(flags: Mapping[str, str | None], env: Mapping[str, str], file: Path | None = None) -> Settings:
    """flags: by setting name, None where not given. Raises SettingsError with every problem."""
    problems: list[str] = []
    written = _read_file(file, problems) if file else {}
    known = {setting.name for setting in SETTINGS}
    variables = {setting.variable for setting in SETTINGS} | {PREFIX + "CONFIG"}
    problems += [
        f"{file}: {key}={written[key]!r}: want a setting, one of {', '.join(sorted(known))}"
        for key in sorted(written.keys() - known)
    ]
    problems += [
        f"{name}={env[name]!r}: want a setting, one of {', '.join(sorted(variables))}"
        for name in sorted(env)
        if name.startswith(PREFIX) and name not in variables and not _SERVICE_LINK.fullmatch(name)
    ]
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        source, text = _find(setting, flags, env, written, file)
        try:
            values[setting.field] = setting.read(text)
        except ValueError as error:
            problems.append(f"{source}={text!r}: {error}")
    if values.get("replay") and not values.get("push"):
        problems.append("--push: missing: want the aggregator's URL, for --replay does nothing but push")
    if values.get("push_token_file") and not values.get("push"):
        problems.append("--push: missing: want the aggregator's URL, for --push-token-file is only for it")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)


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
    import yaml  # here, for most agents have no file and would pay for it at every start

    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"--config={str(file)!r}: {error}: want a readable YAML file")
        return {}
    if not isinstance(data, dict):
        problems.append(f"--config={str(file)!r}: want a mapping of settings")
        return {}
    problems += [f"{file}: {key}={value!r}: want a text" for key, value in data.items() if not isinstance(value, str)]
    return {key: value for key, value in data.items() if isinstance(key, str) and isinstance(value, str)}
