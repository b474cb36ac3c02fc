"""What a unit of a plan is priced as: a card's model, or a MIG profile of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from chargeback.core.lines import sku_of

# Between a model and a profile, as in `NVIDIA A100-SXM4-80GB / 1g.10gb`.
SEPARATOR = " / "
_CHARS_MAX = 200
_SKU = re.compile(r"gpu\.(?P<card>[^\s/]+?)(?:\.mig-(?P<profile>[^\s/]+))?")
# As the device plugin names instances: `nvidia.com/mig-1g.10gb`, `nvidia.com/mig-1g.10gb.me.shared`.
_MIG = re.compile(r"[^/]+/mig-(?P<profile>.+?)(?:\.shared)?")


@dataclass(frozen=True, slots=True, order=True)
class PriceKey:
    """profile: "" for a whole card."""

    model: str
    profile: str = ""

    @property
    def sku(self) -> str:
        return sku_of(self.model, self.profile or None)

    def __str__(self) -> str:
        return f"{self.model}{SEPARATOR}{self.profile}" if self.profile else self.model


def check_price_key(text: str) -> str:
    """A key as people write it. Raises ValueError."""
    model, separator, profile = text.partition(SEPARATOR)
    if not (0 < len(text) <= _CHARS_MAX and text.isprintable() and text == text.strip()):
        raise ValueError(f"want a card's model, of 1 to {_CHARS_MAX} printable characters, as `prices show` has it")
    if separator and not (model.strip() and profile.strip() and SEPARATOR not in profile):
        raise ValueError("want a model, or a model and a MIG profile such as NVIDIA A100-SXM4-80GB / 1g.10gb")
    return text


def read_price_key(text: str, models: Iterable[str]) -> PriceKey | None:
    """The key that a text means; None: a sku of no model that is known, or of more than one."""
    if not (match := _SKU.fullmatch(text)):
        model, _, profile = text.partition(SEPARATOR)
        return PriceKey(model, profile)
    card = f"gpu.{match['card']}"
    found = {model for model in models if sku_of(model, None) == card}
    return PriceKey(found.pop(), match["profile"] or "") if len(found) == 1 else None


def key_sku(text: str) -> str:
    """The sku that a text means, whichever way it is written: of two texts that mean the same it is the same."""
    if _SKU.fullmatch(text):
        return text
    model, _, profile = text.partition(SEPARATOR)
    return PriceKey(model, profile).sku


def profile_of(resource: str) -> str:
    """The MIG profile that a resource's name says, as NVML writes it; "" where it says none."""
    match = _MIG.fullmatch(resource)
    # No + may stand in a resource's name: 1g.10gb+me is mig-1g.10gb.me.
    return match["profile"].replace("gb.", "gb+", 1) if match else ""
