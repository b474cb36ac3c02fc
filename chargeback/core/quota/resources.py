"""What the keys and quantities of a quota mean: which name GPUs, and what a number says.

Kubernetes enforces `requests.` of an extended resource only; it stores `limits.` and bare names and counts neither.
"""

from __future__ import annotations

import re
from decimal import Decimal

GUARANTEED, CAP = "gpu-chargeback/guaranteed-gpus", "gpu-chargeback/cap-gpus"
# What a guaranteed device is priced as, where a cluster has several models.
PRICE_KEY = "gpu-chargeback/price-key"
_REQUESTS, _LIMITS = "requests.", "limits."
# As the device plugin names them: whole cards, renamed shares of them, MIG devices. Not `nvidia.com/gpumem` or
# `gpucores`, which are other schedulers' amounts.
_GPU_RESOURCE = re.compile(r"nvidia\.com/(?:gpu(?:\.[\w.-]+)?|mig-[\w.-]+)", re.ASCII)
_SUFFIXES = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip
# Annotations are anybody's text: NaN, infinity and absurd exponents are no quantities.
_NUMBER = r"(?:\d{1,19}(?:\.\d{0,9})?|\.\d{1,9})"
_QUANTITY = re.compile(
    rf"\+?({_NUMBER}(?:[eE][+-]?\d)?)|\+?({_NUMBER})({'|'.join(filter(None, _SUFFIXES))})", re.ASCII
)


def parse_quantity(text: str) -> Decimal:
    """A Kubernetes quantity, zero or more: of devices, bytes, cores, objects. Raises ValueError."""
    if not (match := _QUANTITY.fullmatch(text)):
        raise ValueError(f"{text!r}: want a Kubernetes quantity such as 8")
    plain, number, suffix = match.groups()
    return Decimal(plain) if plain else Decimal(number) * _SUFFIXES[suffix]


def gpu_resource(key: str) -> tuple[str | None, bool]:
    """The GPU resource that a quota's key names (None: another matter), and whether Kubernetes enforces the key."""
    for prefix in (_REQUESTS, _LIMITS, ""):
        resource = key.removeprefix(prefix) if key.startswith(prefix) else ""
        if _GPU_RESOURCE.fullmatch(resource):
            return resource, prefix == _REQUESTS
    return None, False
