"""Events of controllers that could not make a pod, as the API writes them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chargeback.cluster.objects import Metadata, unix_ms
from chargeback.core.quota.refusals import Refusal, refusal_of


class Involved(msgspec.Struct, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class Series(msgspec.Struct, frozen=True, rename="camel"):
    count: int = 0
    last_observed_time: datetime | None = None


class EventObject(msgspec.Struct, frozen=True, rename="camel"):
    """Old events count in `count`, new ones in `series`."""

    metadata: Metadata
    involved_object: Involved = Involved()
    message: str = ""
    count: int | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: Series | None = None


def to_refusal(found: EventObject) -> Refusal | None:
    """A quota's refusal; None where something else was in the way."""
    series = found.series or Series()
    times = (series.last_observed_time, found.last_timestamp, found.event_time, found.metadata.creation_timestamp)
    return refusal_of(
        namespace=found.involved_object.namespace or found.metadata.namespace,
        kind=found.involved_object.kind,
        name=found.involved_object.name,
        message=found.message,
        count=found.count or series.count or 1,
        last_ms=next((ms for ms in map(unix_ms, times) if ms), 0),
        first_ms=unix_ms(found.first_timestamp or found.event_time),
    )
