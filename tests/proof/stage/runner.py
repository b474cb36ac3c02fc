"""Runs a scenario on the stage while a witness watches, and brings back what the product says of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, Self

from tests.programs import wait_for
from tests.proof.comparison.strays import Stray, strays_since
from tests.proof.stage.actions import Scene
from tests.proof.stage.faults import wait_looked, wait_observed
from tests.proof.stage.scenario import H100, Price, Scenario, Step
from tests.proof.stage.schedule import scheduled, unfold
from tests.proof.stage.stage import A100, ALWAYS_CUT, MODELS, NODE, Stage, now_ms
from tests.proof.stage.workloads import KINDS, path_of
from tests.proof.witness.testimony import Testimony, Told

# One micro a millisecond, and three quarters of one.
PRICES = (Price(model=H100, price="3.60"), Price(model=A100, price="2.70"))
HOUR_MS = 3_600_000
GONE_WITHIN_S = 90.0
PUSHED_WITHIN_S = 180.0  # an agent that was cut off tries again after a minute at the latest
DONE_WITHIN_S = 240.0
BOUND_WITHIN_S = 120.0

Say = Callable[[str], None]


class Watcher(Protocol):
    """The witness, as far as a run needs it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def told(self, what: Told) -> None: ...
    def testify(self, from_ms: int, until_ms: int) -> Testimony: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A scenario that was run.

    began_ms, ended_ms  before its first step, and after the last of its pods had gone
    csv                 the product's export, detail `hour`, of the months that it touches
    strays              what its agents have reported of the host's processes meanwhile
    killed              how often which part was
    namespaces          as they are called in the cluster, by the names in the scenario
    """

    scenario: Scenario
    seed: int
    began_ms: int
    ended_ms: int
    csv: str
    strays: dict[str, Stray]
    killed: dict[str, int]
    namespaces: dict[str, str]
    testimony: Testimony


def run(stage: Stage, scenario: Scenario, seed: int, witness: Watcher, say: Say = lambda line: None) -> Run:
    """Set the cards, play all steps, clear up, and ask the product. Raises what a step raised."""
    scene = Scene(stage=stage, scenario=scenario)
    names = {name: scene.namespace(name) for name in scenario.namespaces}
    set_cards(stage, scenario)
    with witness:
        stage.listen(witness.told)
        try:
            before, strays = stage.killed.copy(), stage.aggregator.strays(NODE)
            _open(scene)
            began_ms = _next_second_ms()
            try:
                _play(scene, seed, say)
                _wait_bound(stage, list(names.values()))
            finally:
                _clear(stage, list(names.values()))
            ended_ms = now_ms()
            _settle(stage, list(names.values()), ended_ms)
            csv = _export(stage, began_ms, ended_ms)
            strays = strays_since(strays, stage.aggregator.strays(NODE))
            testimony = witness.testify(began_ms, ended_ms)
        finally:
            stage.listen(lambda told: None)
    for name in names.values():
        stage.call("DELETE", f"/api/v1/namespaces/{name}")
    return Run(
        scenario=scenario, seed=seed, began_ms=began_ms, ended_ms=ended_ms, csv=csv, strays=strays,
        killed=dict(stage.killed - before), namespaces=names, testimony=testimony,
    )  # fmt: skip


def set_cards(stage: Stage, scenario: Scenario) -> None:
    """As the scenario wants them; what it does not speak of is whole, or cut as ever."""
    before = [stage.driver.profiles(number) for number in range(len(MODELS))]
    for number in range(len(MODELS)):
        wanted = scenario.cards[number].mig if number < len(scenario.cards) else ALWAYS_CUT.get(number, ())
        stage.driver.cut(number, wanted)
    after = [stage.driver.profiles(number) for number in range(len(MODELS))]
    if before != after or stage.plugin.sharing != scenario.sharing:
        stage.plugin.offer(scenario.sharing)
        wait_looked(stage)  # nobody holds what was cut before an agent knows of it


def _open(scene: Scene) -> None:
    """Policy, prices, and namespaces with their quotas and plans."""
    stage, scenario = scene.stage, scene.scenario
    stage.tell(stage.books.set_policy(scenario.policy))
    stage.tell(stage.books.reprice(scenario.prices or PRICES))
    for short, each in scenario.namespaces.items():
        name = scene.namespace(short)
        stage.create_namespace(name, each.labels)
        if each.quota is not None:
            hard = {"requests.nvidia.com/gpu": str(each.quota)}
            stage.plane.create(
                f"/api/v1/namespaces/{name}/resourcequotas", "ResourceQuota", "gpus", spec={"hard": hard}
            )
        if each.plan is not None:
            stage.tell(stage.books.plan(name, each.plan))


def _next_second_ms() -> int:
    """Wait for it: what the API server stamps then lies in the run."""
    time.sleep(1 - time.time() % 1)
    return now_ms() // 1000 * 1000


def _play(scene: Scene, seed: int, say: Say) -> None:
    """Each step at its time, by a hand of its own: one that takes long holds nobody up."""
    began_s = time.monotonic()
    under_way: dict[Future[None], Step] = {}
    steps = sorted(
        (part for step in scheduled(scene.scenario, seed) for part in unfold(step)), key=lambda each: each.at
    )
    for step in steps:
        _sleep_until(began_s + step.at, under_way)
        say(f"{step.at:7.1f} s  {type(step).__name__.lower()} {_what(step)}")
        under_way[scene.stage.hands.submit(scene.do, step)] = step
    _sleep_until(began_s + scene.scenario.until, under_way)
    wait(under_way, DONE_WITHIN_S)
    _raise_first(under_way)


def _wait_bound(stage: Stage, namespaces: Sequence[str]) -> None:
    """Who still waits for a device has his turn: what was applied has run, however slow the machine is."""

    def bound() -> bool:
        return all("nodeName" in pod["spec"] for name in namespaces for pod in stage.pods(name))

    wait_for("every pod is bound", bound, BOUND_WITHIN_S)


def _what(step: Step) -> str:
    said = (getattr(step, name, None) for name in ("namespace", "name", "part", "card", "profiles", "labels"))
    return " ".join(str(each) for each in said if each is not None)


def _sleep_until(at_s: float, under_way: dict[Future[None], Step]) -> None:
    """Ends early by raising what a step raised."""
    while (left_s := at_s - time.monotonic()) > 0:
        pending = [future for future in under_way if not future.done()]
        if pending:
            wait(pending, left_s, FIRST_EXCEPTION)
        else:
            time.sleep(left_s)
        _raise_first(under_way)


def _raise_first(under_way: dict[Future[None], Step]) -> None:
    for future, step in under_way.items():
        if future.done() and (error := future.exception()) is not None:
            raise AssertionError(f"{step}: {error}") from error


def _clear(stage: Stage, namespaces: Sequence[str]) -> None:
    """Everything whole and reachable again, and nothing of the scenario's left to run."""
    stage.wire.mend()
    for card in range(len(MODELS)):
        if stage.driver.lost(card):
            stage.driver.recover(card)
    for name in namespaces:
        for kind in reversed(KINDS):
            body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
            stage.call("DELETE", path_of(kind, name), body)
    wait_for("the pods are gone", lambda: not any(stage.pods(name) for name in namespaces), GONE_WITHIN_S)
    wait_for("nothing works on the cards", stage.driver.idle)
    wait_observed(stage)
    for told in stage.books.end_plans(namespaces):
        stage.tell(told)


def _settle(stage: Stage, namespaces: Sequence[str], ended_ms: int) -> None:
    """The product has heard of everything until the end: by both its meters."""
    wait_for("the push", lambda: stage.aggregator.through_ms(NODE) >= ended_ms, PUSHED_WITHIN_S)
    wait_for("the ends of the pods", lambda: not stage.aggregator.living(namespaces))


def _export(stage: Stage, began_ms: int, ended_ms: int) -> str:
    """One table; of two months where the run lies in both. What is over of its hours is closed first."""
    if began_ms // HOUR_MS < ended_ms // HOUR_MS:
        stage.aggregator.close_hours()
    months = sorted({_month(began_ms), _month(ended_ms)})
    tables = [stage.aggregator.export(month) for month in months]
    return tables[0] + "".join(table.partition("\n")[2] for table in tables[1:])


def _month(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")
