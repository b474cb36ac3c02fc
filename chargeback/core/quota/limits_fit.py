"""Whether a pod is in order by itself, and within the LimitRanges of its namespace: the estimate's first lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from chargeback.core.quota.fit_ask import Ask, FitLine, show
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange, amount, is_gpu
from chargeback.core.quota.pod_template import Amounts, Container, PodTemplate, is_extended, is_pod_level

_OVER = {
    "max": "at most {} a {}",
    "min": "at least {} a {}",
    "maxLimitRequestRatio": "limit ÷ request at most {} a {}",
}
# A quota with one of these refuses every pod with a container that does not say how much it wants.
MUST_SAY = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_UNIT = {"Container": "container", "Pod": "pod"}
# A container or the pod: its name, its requests, its limits.
Unit = tuple[str, Amounts, Amounts]


def invalid(pod: PodTemplate) -> Iterator[FitLine]:
    """What the API server refuses in the pod itself (422), once defaults are in."""
    for container in pod.all_containers:
        for name in sorted({*container.requests, *container.limits}):
            if what := _invalid(name, container.requests.get(name), container.limits.get(name)):
                yield FitLine(object=f"container {container.name}", field=name, what=what, fits=False)
    for name in sorted({*pod.requests, *pod.limits}):
        if what := _invalid_whole(pod, name):
            yield FitLine(object="the pod", field=f"resources {name}", what=what, fits=False)


def _invalid_whole(pod: PodTemplate, name: str) -> str | None:
    """Of what the pod says as a whole: its containers must fit into it."""
    if not is_pod_level(name):
        return "a pod as a whole can say cpu, memory and hugepages only"
    request, limit = pod.requests.get(name), pod.limits.get(name)
    asked = replace(pod, requests={}, limits={}).effective().get(name)
    if request is not None and asked is not None and asked > request:
        return f"the containers ask for {show(asked)} together, the pod for {show(request)}"
    for container in pod.containers:
        own = container.limits.get(name)
        if limit is not None and own is not None and own > limit:
            return f"container {container.name} has a limit of {show(own)}, the pod one of {show(limit)}"
    return _invalid(name, request, limit)


def _invalid(name: str, request: Decimal | None, limit: Decimal | None) -> str | None:
    if not is_extended(name):
        if request is None or limit is None or request <= limit:
            return None
        return f"request {show(request)} is above limit {show(limit)}"
    if limit is None:
        return "a request without a limit: refused, for such a resource cannot be overcommitted"
    if request != limit:
        return f"request {_text(request)} must equal limit {show(limit)}: such a resource cannot be overcommitted"
    return f"{show(limit)} of it: want a whole number" if limit % 1 else None


def given(limits: LimitRange, ask: Ask) -> Iterator[FitLine]:
    """The GPUs that containers get without having asked."""
    for container in ask.pod.all_containers if ask.is_whole else ():
        for item in limits.items:
            for name, number in sorted(item.default_limits().items()):
                if is_gpu(name) and number and name not in container.limits:
                    what = f"container {container.name} says nothing of {name} and gets {show(number)}"
                    yield FitLine(object=limits.label, field=f"{item.type} default", what=what, fits=True)


def within(limits: LimitRange, ask: Ask, pod: PodTemplate) -> Iterator[FitLine]:
    """Each bound against the pod with its defaults; of a pod that is known in part, its GPUs only."""
    whole: Unit = ("the pod", pod.effective(), pod.effective(limits=True))
    units = {"Container": [_unit(each) for each in pod.all_containers], "Pod": [whole]}
    for item in limits.items:
        for bound in _OVER if item.type in _UNIT else ():
            for name, text in sorted(item.bounds.get(bound, {}).items()):
                if ask.is_whole or is_gpu(name):
                    fits, what = _bound(bound, name, text, item.type, units[item.type])
                    what += "" if ask.is_whole or bound != "max" else _warning(item, name)
                    yield FitLine(object=limits.label, field=f"{item.type} {bound}[{name}]", what=what, fits=fits)


def _bound(bound: str, name: str, text: str, kind: str, units: list[Unit]) -> tuple[bool | None, str]:
    number = amount(text)
    if number is None:
        return None, f"{text} is no number we can read"
    said = _OVER[bound].format(show(number), _UNIT[kind])
    for unit, requests, limits in units:
        if what := _broken(bound, number, requests.get(name), limits.get(name)):
            return False, f"{said}: {unit} has {what}"
    most = max(((limits.get(name) or Decimal(0)) for _, _, limits in units), default=Decimal(0))
    return True, f"{said}, {show(most)} asked"


def _broken(bound: str, number: Decimal, request: Decimal | None, limit: Decimal | None) -> str | None:
    """As the LimitRanger compares: what is not said breaks a bound too."""
    if bound == "max":
        return f"a limit of {_text(limit)}" if limit is None or limit > number or (request or 0) > number else None
    if bound == "min":
        broken = request is None or request < number or (limit is not None and limit < number)
        return f"a request of {_text(request)}" if broken else None
    if not request or not limit:
        return f"a request of {_text(request)} and a limit of {_text(limit)}: both must be above 0"
    return f"{show(limit)} ÷ {show(request)}" if limit / request > number else None


def _warning(item: LimitItem, name: str) -> str:
    number = item.gives(name)
    return f"; any other container of the pod must say 0, or it gets {show(number)} as well" if number else ""


def _unit(container: Container) -> Unit:
    return f"container {container.name}", container.requests, container.limits


def _text(number: Decimal | None) -> str:
    return "nothing" if number is None else show(number)
