"""The language of the scenarios: what it takes, what it refuses, and where a seed puts the faults."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import get_args

import pytest

from tests.proof.stage.actions import ACTIONS
from tests.proof.stage.faults import FAULTS
from tests.proof.stage.reading import CARDS, ScenarioError, read_scenario, read_scenarios
from tests.proof.stage.scenario import (
    GPU,
    VERBS,
    Apply,
    By,
    Card,
    Fault,
    Load,
    Policy,
    Restart,
    Scenario,
    Sharing,
)
from tests.proof.stage.schedule import scheduled, unfold
from tests.proof.stage.stage import MODELS
from tests.proof.stage.workloads import manifest

SMALL = """
name: small
about: One pod.
cards: [whole, [3g.40gb, 1g.10gb]]
namespaces:
  red: {labels: {cost-center: cc-red}, quota: 2}
steps:
  - {at: 0, do: apply, name: train, namespace: red, containers: [{gpus: 1, runs: 5}]}
  - {at: 2.5, do: load, name: train, namespace: red, sm: 40, seconds: 3}
faults:
  - {part: agent, between: [1, 9], times: 3, down: 0.5}
until: 10
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as refused:
        read_scenario(text, "x.yaml")
    return refused.value.problems


@pytest.fixture
def small() -> Scenario:
    return read_scenario(SMALL, "small.yaml")


def test_a_scenario_is_read_whole(small: Scenario) -> None:
    assert (small.name, small.until) == ("small", 10.0)
    assert small.cards == (Card(), Card(mig=("3g.40gb", "1g.10gb")))
    assert small.namespaces["red"].quota == 2
    apply, load = small.steps
    assert isinstance(apply, Apply)
    assert (apply.at, apply.kind, apply.containers[0].resource, apply.containers[0].runs) == (0.0, "pod", GPU, 5.0)
    assert isinstance(load, Load)
    assert (load.at, load.sm, load.container) == (2.5, 40, "main")
    assert small.faults == (Fault(part="agent", between=(1.0, 9.0), times=3, down=0.5),)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = SMALL.replace("do: load", "do: dance").replace("quota: 2", "quota: two").replace("until: 10", "til: 10")
    assert problems(text) == [
        "x.yaml: namespaces.red.quota: 'two': want a whole number",
        f"x.yaml: steps[1].do: 'dance': want one of {', '.join(VERBS)}",
        f"x.yaml: til: not known: want one of {', '.join(each.name for each in fields(Scenario))}",
        "x.yaml: until: missing",
    ]


@pytest.mark.parametrize(
    ("there", "instead", "problem"),
    [
        ("at: 2.5", "at: 25", "steps[1].at: 25.0: want 0 to 10.0"),
        ("namespace: red, sm", "namespace: blue, sm", "steps[1].namespace: blue: want one of red"),
        ("sm: 40", "sm: 140", "steps[1].sm: 140: want percent"),
        ("load, name: train", "load, name: trian", "steps[1].name: trian: nothing of this name was applied"),
        ("1g.10gb", "4g.40gb, 1g.10gb", "cards[1]: more than a card's 7 slices"),
        ("1g.10gb", "9g.10gb", "cards[1]: 9g.10gb: want some of"),
        ("containers: [{", "containers: [{role: init, ", "steps[0].containers: want a main one"),
        ("apply, name", "apply, count: 3, name", "steps[0].count: 3: want 1 or more, of a job"),
        ("[1, 9]", "[9, 11]", "faults[0]: want two moments before 10.0 s"),
        ("name: small", "name: Small", "'Small': want at most 30 lower-case letters"),
        ("part: agent", "part: moon", "faults[0].part: 'moon': want one of agent, aggregator"),
        ("gpus: 1", "gpus: true", "steps[0].containers[0].gpus: True: want a whole number"),
        ("about:", "sharing: {by: lot}\nabout:", "sharing.by: 'lot': want one of time-slicing, mps"),
        (
            "about:",
            "sharing: {by: mps, replicas: 4}\nabout:",
            "cards: by MPS no card may be cut: want 5 that are whole",
        ),
        ("quota: 2}", "plan: {guaranteed: 1}}\npolicy: {sharing: active}", "policy.sharing: active: want no plans"),
        ("about:", "shows: [{colour: red}]\nabout:", "shows[0]: colour: want some of account, kind"),
        ("about:", "shows: [{part: 1}]\nabout:", "shows[0].part: 1: want a text"),
        ("about:", "prices: [{model: x, price: cheap}]\nabout:", "prices: 'cheap': want a decimal"),
    ],
)
def test_what_cannot_be_is_refused(there: str, instead: str, problem: str) -> None:
    assert there in SMALL
    (found,) = problems(SMALL.replace(there, instead, 1))
    assert found.startswith(f"x.yaml: {problem}")


def test_cards_that_are_shared_by_mps() -> None:
    text = SMALL.replace("[3g.40gb, 1g.10gb]", "whole, whole, whole, whole")
    text = text.replace("about:", "policy: {sharing: active}\nsharing: {by: mps, replicas: 4, renamed: true}\nabout:")
    found = read_scenario(text, "x.yaml")
    assert (found.sharing, found.policy) == (Sharing(replicas=4, by="mps", renamed=True), Policy(sharing="active"))
    assert problems(text.replace("replicas: 4", "replicas: 1")) == [
        "x.yaml: sharing.replicas: 1: want 2 or more by MPS"
    ]


def test_a_seed_says_when_faults_come(small: Scenario) -> None:
    """The same for the same seed, apart from each other, and within their room; another seed, other moments."""
    kills = [step for step in scheduled(small, 7) if isinstance(step, Restart)]
    assert kills == [step for step in scheduled(small, 7) if isinstance(step, Restart)]
    assert [step.at for step in kills] != [step.at for step in scheduled(small, 8) if isinstance(step, Restart)]
    assert all(1 <= step.at <= 9 - 0.5 for step in kills)
    assert all(after.at - before.at >= 0.5 for before, after in itertools.pairwise(kills))
    assert [step.at for step in scheduled(small, 7)] == sorted(step.at for step in scheduled(small, 7))


def test_several_jobs_are_several_steps(small: Scenario) -> None:
    pod = small.steps[0]
    assert isinstance(pod, Apply)
    jobs = unfold(replace(pod, kind="job", count=3, every=0.5))
    assert [(job.at, job.name) for job in jobs if isinstance(job, Apply)] == [
        (0.0, "train-1"), (0.5, "train-2"), (1.0, "train-3"),
    ]  # fmt: skip
    deployment = replace(pod, kind="deployment", count=3)
    assert unfold(deployment) == (deployment,)


def test_a_deployment_is_rolled_out_by_another_release() -> None:
    """A sidecar is an init container that goes on; only what asks for GPUs has limits."""
    text = SMALL.replace("apply, name", "apply, kind: deployment, count: 2, release: '2', name")
    text = text.replace("[{gpus: 1", "[{name: watch, role: sidecar}, {gpus: 1")
    step = read_scenario(text, "x.yaml").steps[0]
    assert isinstance(step, Apply)
    spec = manifest(step)["spec"]
    pod = spec["template"]["spec"]
    assert (spec["replicas"], pod["restartPolicy"]) == (2, "Always")
    assert [each["restartPolicy"] for each in pod["initContainers"]] == ["Always"]
    assert [each["resources"]["limits"] for each in pod["containers"]] == [{GPU: 1}]
    assert "resources" not in pod["initContainers"][0]
    assert pod["containers"][0]["env"] == [{"name": "RELEASE", "value": "2"}]


def test_the_shipped_scenarios_are_sound_and_say_everything_once() -> None:
    """Each verb is used, each part killed, and shares are made and billed in each way in one at least; the language
    knows as many cards as the stage has."""
    found = read_scenarios()
    assert len(found) >= 12
    used = {type(step) for scenario in found.values() for step in scenario.steps}
    assert used | {Restart} == set(VERBS.values()) == set(ACTIONS)
    assert {fault.part for scenario in found.values() for fault in scenario.faults} == set(FAULTS)
    assert {scenario.sharing.by for scenario in found.values()} == set(get_args(By))
    assert {scenario.policy.sharing for scenario in found.values()} == {"configured", "active"}
    assert len(MODELS) == CARDS
    assert {"gap", "unhealthy", "unsold", "unpartitioned", "reserved", "burst", "unused", "discount"} <= {
        each["kind"] for scenario in found.values() for each in scenario.shows if "kind" in each
    }
