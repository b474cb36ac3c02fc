"""Whose a namespace is, and since when: cost center, team and tier, with history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One version of a namespace's owner, valid in [from_ms, until_ms). Absent labels are None."""

    namespace: str
    from_ms: int
    until_ms: int | None = None
    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    version: int = 0


class OwnerBook:
    """The owners of one cluster's namespaces, to be asked for any instant."""

    def __init__(self, owners: Iterable[Owner]) -> None:
        self._of: dict[str, list[Owner]] = {}
        for owner in sorted(owners, key=lambda owner: (owner.namespace, owner.from_ms)):
            self._of.setdefault(owner.namespace, []).append(owner)

    def at(self, namespace: str, at_ms: int) -> Owner | None:
        """The owner at an instant; None where the namespace did not exist, as far as we know."""
        for owner in reversed(self._of.get(namespace, ())):
            if owner.from_ms <= at_ms:
                return owner if owner.until_ms is None or at_ms < owner.until_ms else None
        return None

    def changes(self, namespace: str, start_ms: int, end_ms: int) -> list[int]:
        """Instants strictly inside (start, end) at which the owner changes."""
        instants = {
            at
            for owner in self._of.get(namespace, ())
            for at in (owner.from_ms, owner.until_ms)
            if at is not None and start_ms < at < end_ms
        }
        return sorted(instants)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace as the API shows it now. labelled_ms: when one of the owner labels was last written."""

    name: str
    uid: str | None = None
    created_ms: int | None = None
    labelled_ms: int | None = None
    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelKeys:
    """The label keys that name an owner."""

    cost_center: str = "cost-center"
    team: str = "team"
    tier: str = "gpu-tier"

    def read(self, labels: Mapping[str, str]) -> dict[str, str | None]:
        """The three owner fields; an empty label counts as absent."""
        return {
            "cost_center": labels.get(self.cost_center) or None,
            "team": labels.get(self.team) or None,
            "tier": labels.get(self.tier) or None,
        }


def next_version(latest: Owner | None, seen: Namespace, now_ms: int) -> Owner | None:
    """The version that follows from what is seen now; None where nothing changed.

    The first version holds from the namespace's creation (from ever, where that is not known), so that the past of a
    new installation is owned; so does that of a namespace which had gone and is there again. A later one holds from
    the time its labels were written, else from now.
    """
    if latest is None:
        from_ms = seen.created_ms or 0
    elif latest.until_ms is not None:
        dated = [at for at in (seen.created_ms, seen.labelled_ms) if at is not None and at <= now_ms]
        from_ms = max(dated[0] if dated else now_ms, latest.until_ms)
    elif _fields(latest) == (seen.cost_center, seen.team, seen.tier):
        return None
    elif seen.labelled_ms is not None and latest.from_ms < seen.labelled_ms <= now_ms:
        from_ms = seen.labelled_ms
    else:
        from_ms = max(now_ms, latest.from_ms + 1)
    return Owner(
        namespace=seen.name,
        from_ms=from_ms,
        cost_center=seen.cost_center,
        team=seen.team,
        tier=seen.tier,
        version=latest.version + 1 if latest else 1,
    )


def _fields(owner: Owner) -> tuple[str | None, str | None, str | None]:
    return (owner.cost_center, owner.team, owner.tier)
