"""How we know of a line's time, in sections of its explanation: what agents pushed, and what the API says of pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chargeback.core import lines as ledger
from chargeback.core.explaining.explaining import Fact, Section, fact, section
from chargeback.core.hours import HOUR_MS, format_hour, format_instant
from chargeback.core.lines import Line
from chargeback.core.lives import PodLife
from chargeback.core.metered import API
from chargeback.core.node_hour import NodeHour
from chargeback.core.reservations import EVIDENCE as RESERVATION
from chargeback.core.spans import Spans, intersect, length, union

# What each evidence of an agent, or of ours, means.
EVIDENCE = {
    "exclusive": "the kubelet gave the device to this container alone",
    "mig": "the kubelet gave the MIG instance to this container",
    "sm": "shared, told by the container's processes on it",
    "memory": "shared, told by the memory of the container's processes",
    "equal": "shared, split equally among the containers that the kubelet gave it to",
    "kubelet": "the kubelet gave the device; NVML cannot see it",
    "none": "held, and nobody can say by whom",
    RESERVATION: "a scheduler gave the pod a part of the device; its reservation holds it for the group",
    API: "no agent saw it then; the cluster's API says that the pod was there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A body as it came. speaks: for how many ms of the hour it is the one that counts, of the line's card."""

    body: NodeHour
    received_ms: int
    speaks: Spans


def bodies_section(line: Line, received: Sequence[Received], revision: int, due: bool, gone: str) -> Section:
    """gone: why there is no body where there is none."""
    times = "once" if revision == 1 else f"{revision} times"
    facts = [
        fact("node-hour", f"{line.cluster}/{line.node}/{format_hour(line.hour)}"),
        fact("rated", f"{times}, and due again" if due else times, revision),
    ]
    for each in received:
        body = each.body
        spoke = f"speaks for {_ms(each.speaks)}" if each.speaks else "does not speak for this card"
        final = "final" if body.final else f"up to {_within(line, body.through)}"
        facts.append(
            fact(
                "body",
                f"instance {body.instance}, started {format_instant(body.started)}, sequence {body.seq}, {final}, "
                f"received {format_instant(each.received_ms)}; {spoke}",
                {
                    "instance": body.instance,
                    "started": format_instant(body.started),
                    "seq": body.seq,
                    "through_ms": body.through,
                    "final": body.final,
                    "received": format_instant(each.received_ms),
                    "speaks_ms": [list(span) for span in each.speaks],
                },
            )
        )
    return section("node hour", [*facts, fact("note", gone if not received else None)])


def evidence_section(
    line: Line, received: Sequence[Received], lives: Sequence[PodLife], held: Sequence[Line]
) -> Section:
    """What agents saw the holder hold, what the API says of its pod, and how the two were put together.

    lives: of pods of the line's name; held: the holder's lines of the hour.
    """
    start_ms = line.hour * HOUR_MS
    mine = ((line.start_ms - start_ms, line.end_ms - start_ms),)
    seen = _seen(line, received)
    facts = [fact("evidence", _evidence(line.evidence), line.evidence)]
    facts.append(_spans("agents saw", seen, start_ms))
    for life in lives:
        ended = "still there" if life.ended_ms is None else f"over at {format_instant(life.ended_ms)}"
        facts.append(
            fact(
                "api",
                f"pod {life.uid} bound {format_instant(life.bound_ms)}, {ended}",
                {
                    "uid": life.uid,
                    "bound": format_instant(life.bound_ms),
                    "ended": None if life.ended_ms is None else format_instant(life.ended_ms),
                },
            )
        )
    if received and line.kind in ledger.HOLDERS:
        filled = length(mine) - length(intersect(mine, seen))
        clipped = length(seen) - length(intersect(seen, _held(line, held)))
        facts += [
            fact("filled", _filled(line, filled) if filled else None, filled or None),
            fact("clipped", f"{clipped} ms that agents saw lie after the pod's end, and in no line of its"
                 if clipped else None, clipped or None),
        ]  # fmt: skip
    return section("evidence", facts)


def _filled(line: Line, ms: int) -> str:
    if line.evidence.startswith(API):
        return f"{ms} ms of it are known from the API alone"
    return f"{ms} ms of it are in no body that is there now"


def _held(line: Line, held: Sequence[Line]) -> Spans:
    """When the holder holds some of the line's shares, as the lines say, in ms from the hour's start."""
    start_ms, shares = line.hour * HOUR_MS, set(line.shares.split(","))
    return union(
        (each.start_ms - start_ms, each.end_ms - start_ms)
        for each in held
        if each.device == line.device and shares & set(each.shares.split(","))
    )


def _seen(line: Line, received: Sequence[Received]) -> Spans:
    holder = (line.namespace, line.pod, line.container)
    shares = set(map(int, line.shares.split(","))) if line.shares else set()
    return union(
        span
        for each in received
        for holding in each.body.holdings
        if holding.device == line.device and holding.holder == holder and shares & set(holding.shares)
        for span in intersect(((holding.start, holding.end),), each.speaks)
    )


def _spans(name: str, spans: Spans, start_ms: int) -> Fact:
    texts = [f"{format_instant(start_ms + a)} to {format_instant(start_ms + b)}" for a, b in spans]
    return fact(name, "; ".join(texts), [list(span) for span in spans] or None)


def _evidence(text: str) -> str:
    name = text.partition(",")[0]
    return f"{text}: {EVIDENCE[name]}" if name in EVIDENCE else text


def _ms(spans: Spans) -> str:
    return "the whole hour" if length(spans) == HOUR_MS else f"{length(spans)} ms of the hour"


def _within(line: Line, ms: int) -> str:
    return format_instant(line.hour * HOUR_MS + ms)
