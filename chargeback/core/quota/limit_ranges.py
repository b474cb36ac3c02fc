"""LimitRanges: what containers get that say nothing of a resource, and what one container or pod may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from chargeback.core.quota.resources import gpu_resource, parse_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitItem:
    """bounds: by their names in the manifest: max, min, default, defaultRequest, maxLimitRequestRatio."""

    type: str
    bounds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def numbers(self, bound: str) -> dict[str, Decimal]:
        """The resources of one bound; what cannot be read is absent."""
        found = {key: amount(text) for key, text in self.bounds.get(bound, {}).items()}
        return {key: value for key, value in found.items() if value is not None}

    def gpus(self, bound: str) -> dict[str, Decimal]:
        """The GPU resources of one bound; what cannot be read is absent."""
        return {key: value for key, value in self.numbers(bound).items() if is_gpu(key)}

    def gives(self, resource: str) -> Decimal | None:
        """The limit that containers get that say nothing of a resource; None: none."""
        return self.default_limits().get(resource)

    def default_limits(self) -> dict[str, Decimal]:
        """Of type Container: as the API server writes it into the object, max where no default is."""
        return {} if self.type != "Container" else self._written("max", "default")

    def default_requests(self) -> dict[str, Decimal]:
        """Of type Container: the default limit where no default request is, and else the least."""
        if self.type != "Container":
            return {}
        return self.numbers("min") | self.default_limits() | self.numbers("defaultRequest")

    def _written(self, first: str, over: str) -> dict[str, Decimal]:
        """`over` wins; what is written there and cannot be read is not known, be `first` readable."""
        unreadable = set(self.bounds.get(over, {})) - set(self.numbers(over))
        found = self.numbers(first) | self.numbers(over)
        return {key: value for key, value in found.items() if key not in unreadable}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRange:
    namespace: str
    name: str
    items: tuple[LimitItem, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return label("LimitRange", self.namespace, self.name)

    @property
    def gives(self) -> set[str]:
        """Quota keys of what containers get that say nothing: `limits.cpu`, `requests.cpu` and `cpu`."""
        limits = {f"limits.{name}" for item in self.items for name in item.default_limits()}
        requests = {name for item in self.items for name in item.default_requests()}
        return limits | requests | {f"requests.{name}" for name in requests}


def label(kind: str, namespace: str, name: str) -> str:
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def is_gpu(resource: str) -> bool:
    """Whether a resource name as pods write it is one of GPUs."""
    return gpu_resource(f"requests.{resource}")[0] is not None


def amount(text: str) -> Decimal | None:
    """A quantity; None where it cannot be read."""
    try:
        return parse_quantity(text)
    except ValueError:
        return None
