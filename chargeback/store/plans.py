"""Plans with history: versions are added and ended, never rewritten; hours whose plans change become due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from chargeback.core.hours import format_instant, month_span_ms
from chargeback.core.owners.history import is_stale
from chargeback.core.plans.book import FILE, SEEN, PlanBook, PlanVersion
from chargeback.core.plans.history import Learnt, file_change, learn
from chargeback.files.plans import PlanFile
from chargeback.store.audit import Entry, note
from chargeback.store.database import lock
from chargeback.store.feeds import followed, note_followed
from chargeback.store.months import closed_months, share_ledger
from chargeback.store.plan_hours import plans_changed
from chargeback.store.policies import TermsConflict
from chargeback.store.tables import plans

FEED = "plans"
_COLUMNS = (
    "namespace", "version", "layer", "resource", "guaranteed", "cap", "price_key", "source", "from_ms", "until_ms",
    "recorded_ms", "who",
)  # fmt: skip


class PlansConflict(TermsConflict):
    """A plan file that would change closed months: one problem a line."""


def plan_book(connection: Connection, cluster: str) -> PlanBook:
    return PlanBook(each for mine in plan_histories(connection, cluster).values() for each in mine)


def plan_histories(connection: Connection, cluster: str) -> dict[str, list[PlanVersion]]:
    """Of every namespace that ever had a plan, its versions as recorded, by number."""
    query = select(plans).where(plans.c.cluster == cluster).order_by(plans.c.namespace, plans.c.version)
    histories: dict[str, list[PlanVersion]] = {}
    for row in connection.execute(query):
        histories.setdefault(row.namespace, []).append(_version(row))
    return histories


def plan_clusters(connection: Connection) -> list[str]:
    """The clusters that ever had a plan, in bytewise order."""
    return list(connection.execute(select(plans.c.cluster).distinct().order_by(plans.c.cluster)).scalars())


def filed_plans(connection: Connection, cluster: str, at_ms: int) -> list[PlanVersion]:
    """Those that a plan file says, in force at an instant."""
    book = plan_book(connection, cluster)
    named = book.namespaces(at_ms, at_ms + 1)
    return [plan for namespace in named for plan in book.at(namespace, at_ms) if plan.layer == FILE]


def note_plans(
    connection: Connection, cluster: str, seen: Mapping[str, PlanVersion], now_ms: int, *, all_there: bool = True
) -> int | None:
    """Take what annotations and quotas say now into the history; how many namespaces have another plan.

    seen: by namespace. all_there: one that is not in it has no plan any more. Seeing the same again changes nothing.
    None: another replica has seen a later state, so nothing was taken.
    """
    lock(connection, plans)  # every replica follows the cluster, and two must not add the same version
    before_ms = followed(connection, cluster, FEED)
    if is_stale(now_ms, before_ms):
        return None
    histories = plan_histories(connection, cluster)
    changed: list[Learnt] = []
    for namespace in sorted(seen.keys() | histories.keys()):
        if namespace not in seen and not all_there:
            continue
        learnt = learn(histories.get(namespace, []), seen.get(namespace), now_ms)
        if learnt.from_ms is not None:
            _store(connection, cluster, namespace, learnt)
            changed.append(learnt)
    if before_ms is None or before_ms < now_ms:
        note_followed(connection, cluster, FEED, now_ms)
    _make_due(connection, cluster, changed, now_ms)
    return len(changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChange:
    """What an import adds: a version, as it holds from now on, and the closed months that it reaches."""

    cluster: str
    version: PlanVersion
    closed: tuple[str, ...] = ()


def file_changes(
    connection: Connection, file: PlanFile, clusters: Iterable[str], timezone: str, now_ms: int, who: str
) -> list[PlanChange]:
    """What importing a file would add. clusters: that the file is about, even if it says nothing of them."""
    closed = [(month, *month_span_ms(month, timezone)) for month in sorted(closed_months(connection))]
    changes: list[PlanChange] = []
    for cluster in sorted({*clusters, *file.entries}):
        histories = plan_histories(connection, cluster)
        wanted: dict[str, list[PlanVersion]] = {}
        for version in file.entries.get(cluster, ()):
            wanted.setdefault(version.namespace, []).append(version)
        for namespace in sorted(wanted.keys() | histories.keys()):
            history = histories.get(namespace, [])
            for version in file_change(history, wanted.get(namespace, ()), now_ms=now_ms, who=who).added:
                months = tuple(month for month, start_ms, end_ms in closed if _reaches(version, start_ms, end_ms))
                changes.append(PlanChange(cluster=cluster, version=version, closed=months))
    return changes


def import_plans(
    connection: Connection,
    file: PlanFile,
    clusters: Iterable[str],
    timezone: str,
    now_ms: int,
    *,
    who: str,
    why: str = "",
    force: bool = False,
) -> list[PlanChange]:
    """Have a file's plans hold, over what was seen; what is new. The same file again changes nothing.

    Raises PlansConflict where closed months would change, unless it is forced: then they are corrected.
    """
    share_ledger(connection)  # which months are closed stays so until this is done
    lock(connection, plans)
    changes = file_changes(connection, file, clusters, timezone, now_ms, who)
    if not force and (problems := [text for each in changes if (text := _closed_problem(each))]):
        raise PlansConflict("\n".join(problems))
    for cluster in sorted({each.cluster for each in changes}):
        mine = [each.version for each in changes if each.cluster == cluster]
        for version in mine:
            connection.execute(insert(plans).values(_row(cluster, version) | {"why": why or None}))
        detail = {"versions": len(mine), "namespaces": sorted({version.namespace for version in mine})}
        note(
            connection,
            Entry(recorded_ms=now_ms, who=who, action="import plans", subject=cluster, why=why, detail=detail),
        )
        _make_due(connection, cluster, [Learnt(added=tuple(mine))], now_ms)
    return changes


def _closed_problem(change: PlanChange) -> str | None:
    version = change.version
    if not change.closed:
        return None
    since = format_instant(version.from_ms) if version.from_ms else "the beginning"
    until = "" if version.until_ms is None else f" to {format_instant(version.until_ms)}"
    said = "no plan" if version.says_nothing else f"guaranteed {version.guaranteed}, cap {version.cap}"
    months = ", ".join(change.closed)
    return (
        f"{change.cluster} / {version.namespace} / {version.resource}: {said} from {since}{until}: would change "
        f"{months}, which is closed: begin it later, or force it and say why"
    )


def _make_due(connection: Connection, cluster: str, changed: Sequence[Learnt], now_ms: int) -> None:
    starts = [each.from_ms for each in changed if each.from_ms is not None]
    if not starts:
        return
    ends = [each.until_ms for each in changed if each.from_ms is not None]
    until_ms = None if None in ends else max(end for end in ends if end is not None)
    plans_changed(connection, cluster, min(starts), until_ms, now_ms)


def _reaches(version: PlanVersion, start_ms: int, end_ms: int) -> bool:
    return version.from_ms < end_ms and (version.until_ms is None or start_ms < version.until_ms)


def _store(connection: Connection, cluster: str, namespace: str, learnt: Learnt) -> None:
    for version, until_ms in learnt.ends.items():
        is_it = (plans.c.cluster == cluster, plans.c.namespace == namespace, plans.c.version == version)
        connection.execute(update(plans).where(*is_it).values(until_ms=until_ms))
    for added in learnt.added:
        connection.execute(insert(plans).values(_row(cluster, added)))


def _row(cluster: str, version: PlanVersion) -> dict[str, Any]:
    """why: of what was seen the problem, of a file the reason."""
    return {
        "cluster": cluster,
        "why": version.problem if version.layer == SEEN else version.why,
        **{name: getattr(version, name) for name in _COLUMNS},
    }


def _version(row: Any) -> PlanVersion:
    said = {"problem": row.why} if row.layer == SEEN else {"why": row.why}
    return PlanVersion(**{name: getattr(row, name) for name in _COLUMNS}, **said)
