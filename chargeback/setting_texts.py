"""How the text of each kind of setting is read: each reader raises ValueError that says what is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chargeback.core.agents import AgentAccount
from chargeback.core.money import parse_decimal
from chargeback.core.owners.owners import FIELDS, check_label_key
from chargeback.core.rating.dimensions import DIMENSIONS_MAX, Dimensions
from chargeback.web_config import WebConfig, read_web_config

# A month is drafted, approved and closed, and what comes late for it is answered, while its bodies are there.
KEPT_DAYS_MIN = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def plain(text: str) -> str:
    return text


def name(text: str) -> str:
    if not text:
        raise ValueError("want a name")
    return text


def account(text: str) -> AgentAccount | None:
    namespace, slash, name = text.partition("/")
    if text and not (namespace and slash and name and "/" not in name):
        raise ValueError("want NAMESPACE/NAME such as gpu-chargeback/gpu-exporter")
    return AgentAccount(namespace=namespace, name=name) if text else None


def path(text: str) -> Path | None:
    return Path(text) if text else None


def web_config(text: str) -> WebConfig | None:
    return read_web_config(Path(text)) if text else None


def listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("want HOST:PORT such as 127.0.0.1:10467")
    return Listen(host=host.strip("[]") or "0.0.0.0", port=int(port))


def duration_ms(text: str) -> int:
    if not (match := re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)):
        raise ValueError("want a duration such as 10m")
    return int(match[1]) * {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[match[2]]


def days_ms(text: str) -> int:
    if not (match := re.fullmatch(r"(\d{1,5})d", text)) or int(match[1]) < KEPT_DAYS_MIN:
        raise ValueError(f"want days such as 400d, {KEPT_DAYS_MIN}d or more")
    return int(match[1]) * 86_400_000


def timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("want an IANA time zone such as Europe/Berlin") from error
    return text


def currency(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise ValueError("want an ISO 4217 code such as USD")
    return text


def weight(text: str) -> Fraction:
    weight = parse_decimal(text)
    if not 0 <= weight <= 1 or (weight * 1000).denominator != 1:
        # Finer, and a month's time in parts of cards would not fit the ledger's 64 bits.
        raise ValueError(
            "want a number from 0 (by memory slices) to 1 (by compute slices), with at most 3 digits after the point"
        )
    return weight


def label_key(text: str) -> str:
    return check_label_key(text) if text else ""


def label_keys(text: str) -> tuple[str, ...]:
    """In bytewise order, each once."""
    keys = {key.strip() for key in text.split(",") if key.strip()}
    return tuple(check_label_key(key) for key in sorted(keys))


def day_of_month(text: str) -> int | None:
    """A day that every month has; None: no day."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 28):
        raise ValueError("want a day that every month has, from 1 to 28")
    return int(text)


def ratio(text: str) -> Fraction:
    found = parse_decimal(text)
    if not 0 <= found <= 1:
        raise ValueError("want a number from 0 to 1, such as 0.95")
    return found


def factor(text: str) -> Fraction:
    found = parse_decimal(text)
    if found <= 1:
        raise ValueError("want a number greater than 1, such as 3")
    return found


def owner_fields(text: str) -> frozenset[str]:
    """Fields of an owner, as `Owner` calls them."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    fields = [name.replace("-", "_") for name in names]
    if any(field not in FIELDS for field in fields):
        raise ValueError("want some of cost-center, team, tier, with commas between")
    return frozenset(fields)


def dimensions(text: str) -> Dimensions:
    keys: dict[str, set[str]] = {"namespace": set(), "pod": set()}
    for each in (part.strip() for part in text.split(",")):
        if not each:
            continue
        of, colon, key = each.partition(":")
        if not colon or of not in keys:
            raise ValueError(f"{each!r}: want pod:KEY or namespace:KEY, with commas between")
        try:
            keys[of].add(check_label_key(key))
        except ValueError as error:
            raise ValueError(f"{each!r}: {error}") from None
    if len(keys["namespace"] | keys["pod"]) > DIMENSIONS_MAX:
        raise ValueError(f"want up to {DIMENSIONS_MAX} label keys")
    return Dimensions(namespace=tuple(sorted(keys["namespace"])), pod=tuple(sorted(keys["pod"])))


def one_of(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"want one of {', '.join(values)}")
        return text

    return read
