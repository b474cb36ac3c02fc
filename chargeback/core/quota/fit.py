"""Would some pods fit into a namespace now? Arithmetic over its quotas and LimitRanges, line by line: an estimate.

It cannot know webhooks, other pods that come meanwhile, or whether a node has room. Every quota that a pod matches
must admit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from chargeback.core.quota.fit_ask import Ask, FitLine, show
from chargeback.core.quota.limit_ranges import amount, is_gpu
from chargeback.core.quota.limits_fit import MUST_SAY, given, invalid, within
from chargeback.core.quota.pod_template import Amounts, PodTemplate, is_pod_level
from chargeback.core.quota.rules import named_resource
from chargeback.core.quota.specs import (
    POD_SCOPES,
    PRIORITY_CLASS,
    REQUESTS,
    QuotaObjects,
    QuotaSpec,
    class_text,
    is_claims,
    is_counted,
)


def fit(objects: QuotaObjects, ask: Ask) -> list[FitLine]:
    """All reasons for and against, in the order in which Kubernetes asks: the pod itself, limits, quotas."""
    ranges = [limits for limits in objects.limit_ranges if limits.namespace == ask.namespace]
    pod = ask.pod.admitted(ranges)
    overhead = _overhead(objects, pod)
    lines = [*_classes(objects, pod), *(line for limits in ranges for line in given(limits, ask))]
    lines += [*_gpus(ask, pod), *invalid(pod)]
    lines += [line for limits in ranges for line in within(limits, ask, pod)]
    quotas = [quota for quota in objects.quotas if quota.namespace == ask.namespace]
    counted = _Counted(ask, pod, pod.usage(overhead), pod.priority_class or objects.default_class, overhead is None)
    lines += [line for quota in quotas for line in counted.lines(quota)]
    for key in sorted(key for key, number in counted.usage.items() if number and is_gpu(key.removeprefix(REQUESTS))):
        if not any(line.field == key for line in lines):
            what = "no quota counts it for these pods: none refuses them"
            lines.append(FitLine(object=f"Namespace {ask.namespace}", field=key, what=what, fits=True))
    return lines


def verdict(lines: Sequence[FitLine]) -> bool | None:
    """False if one line refuses; None if one cannot say; else True."""
    answers = [line.fits for line in lines]
    return False if False in answers else None if None in answers else True


def _overhead(objects: QuotaObjects, pod: PodTemplate) -> Amounts | None:
    """What the runtime class adds; None: not known."""
    if pod.overhead or pod.runtime_class is None:
        return pod.overhead
    return None if objects.overheads is None else objects.overheads.get(pod.runtime_class, {})


def _classes(objects: QuotaObjects, pod: PodTemplate) -> Iterator[FitLine]:
    known = objects.class_names
    if pod.priority_class is not None and known is not None and pod.priority_class not in known:
        what = "no PriorityClass is called so: pods that name it are refused"
        yield FitLine(object=f"PriorityClass {pod.priority_class}", field="", what=what, fits=False)
    if pod.runtime_class is not None and objects.overheads is not None and pod.runtime_class not in objects.overheads:
        what = "no RuntimeClass is called so: pods that name it are refused"
        yield FitLine(object=f"RuntimeClass {pod.runtime_class}", field="", what=what, fits=False)


def _gpus(ask: Ask, pod: PodTemplate) -> Iterator[FitLine]:
    """Where it is not plain, what one pod asks for: more than one container, or defaults."""
    for name, number in sorted(pod.effective().items() if len(pod.all_containers) > 1 else ()):
        if is_gpu(name) and number:
            what = f"{show(number)} a pod: the greater of all that run together and the hungriest init container"
            yield FitLine(object="the pod", field=name, what=what, fits=True)


class _Counted:
    """What quotas count of the pods. overhead_unknown: their runtime class may add cpu and memory."""

    def __init__(
        self, ask: Ask, pod: PodTemplate, usage: Amounts, priority_class: str | None, overhead_unknown: bool
    ) -> None:
        self.ask = ask
        self.pod = pod
        self.usage = usage
        self.priority_class = priority_class
        self.overhead_unknown = overhead_unknown

    def lines(self, quota: QuotaSpec) -> Iterator[FitLine]:
        matches = self.matches(quota)
        if matches is False:
            what = f"its scope leaves out such pods ({class_text(self.priority_class)})"
            yield FitLine(object=quota.label, field="scope", what=what, fits=True)
            return
        hard = quota.in_force
        for key in sorted(hard):
            if (found := self._line(quota, key, hard[key])) is None:
                continue
            fits, what = found
            if matches is None:
                fits = fits or None
                what += f"; only if the pods match {', '.join(quota.pod_scopes)}"
            yield FitLine(object=quota.label, field=key, what=what, fits=fits)

    def matches(self, quota: QuotaSpec) -> bool | None:
        """Whether the pods match every scope; None where that hangs on what we do not know of them."""
        if not quota.takes_class(self.priority_class):
            return False
        others = {term.scope for term in quota.all_terms} - {PRIORITY_CLASS}
        if others - POD_SCOPES:
            return False
        if not self.ask.is_whole:
            return None if others else True
        is_so = {
            "Terminating": self.pod.is_terminating,
            "NotTerminating": not self.pod.is_terminating,
            "BestEffort": self.pod.is_best_effort,
            "NotBestEffort": not self.pod.is_best_effort,
            "CrossNamespacePodAffinity": self.pod.crosses_namespaces,
        }
        return all(is_so[scope] for scope in others)

    def _line(self, quota: QuotaSpec, key: str, hard: str) -> tuple[bool | None, str] | None:
        """The answer of one key; None: it has nothing to do with these pods."""
        if not is_counted(key):
            dead = self.usage.get(REQUESTS + named_resource(key))
            return (True, f"{hard} is not enforced by Kubernetes: it refuses nobody") if dead else None
        if is_claims(key):
            what = f"{hard} for claims, which are made and refused after the pod: not part of this estimate"
            return (None, what) if self.pod.makes_claims and not quota.pod_scopes else None
        if key in MUST_SAY and not self.ask.is_whole:
            fits, what = _room(quota, hard, key, Decimal(0))
            return fits, f"{what}; pods must say how much they want, which is not part of this estimate"
        if key in MUST_SAY and (silent := self._silent(key)):
            return False, f"every container must say {key}, and {', '.join(silent)} does not"
        if not (wanted := self.usage.get(key, Decimal(0)) * self.ask.pods):
            return None
        fits, what = _room(quota, hard, key, wanted)
        if self.overhead_unknown and is_pod_level(key.removeprefix(REQUESTS).removeprefix("limits.")):
            return fits and None, f"{what}; RuntimeClass {self.pod.runtime_class} may add to it"
        return fits, what

    def _silent(self, key: str) -> list[str]:
        """Containers that do not say a key; a pod that speaks as a whole need not."""
        if any(map(is_pod_level, {*self.pod.requests, *self.pod.limits})):
            return []
        return [each.name for each in self.pod.all_containers if not each.says(key)]


def _room(quota: QuotaSpec, hard_text: str, key: str, wanted: Decimal) -> tuple[bool | None, str]:
    hard, used = amount(hard_text), amount(quota.used.get(key, ""))
    if hard is None:
        return None, f"{hard_text} is no number we can read"
    if used is None:
        fits = None if wanted <= hard else False
        return fits, f"{hard_text} allowed, {show(wanted)} asked; how much is used is not known"
    if not wanted:  # something is asked, but not how much
        return True if used < hard else None, f"{quota.used[key]} of {hard_text} used"
    rest = f"{show(hard - used)} left" if used <= hard else f"{show(used - hard)} too many already"
    return used + wanted <= hard, f"{show(used)} of {show(hard)} used, {show(wanted)} asked: {rest}"
