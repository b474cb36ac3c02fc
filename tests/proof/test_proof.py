"""The proof that runs with the tests: some of its scenarios on one stage, about seven minutes on two cores.

`make proof` plays all of them. Here a busy day has a stranger's process on a held card, agent and aggregator are
killed in one story, and the storm is one of shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.cluster.control_plane import ADMIN_TOKEN
from tests.proof.comparison.comparison import Comparison, compare
from tests.proof.stage.reading import read_scenarios
from tests.proof.stage.runner import Run, run
from tests.proof.stage.scenario import Intrude, Scenario, Sharing
from tests.proof.stage.stage import Stage, stage
from tests.proof.witness.witness import Witness

SEED = 7
SCENARIOS = read_scenarios()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("proof")) as made:
        yield made


def prove(stage: Stage, scenario: Scenario) -> tuple[Run, Comparison]:
    """Play it, and hold both words against each other: they must be one."""
    note = stage.node.kubelet_folder / "device-plugins/kubelet_internal_checkpoint"
    done = run(stage, scenario, SEED, Witness(stage.plane.url, ADMIN_TOKEN, note))
    comparison = compare(done.testimony, done.csv, done.strays, done.scenario.shows)
    assert not comparison.differences, "\n".join(map(str, comparison.differences))
    assert comparison.end_ms <= 1000
    return done, comparison


def test_a_busy_day_with_a_stranger_on_a_card(made: Stage) -> None:
    """He holds nothing, so nobody pays for him; how busy the holder was meanwhile, nobody can say."""
    day = SCENARIOS["day"]
    stranger = Intrude(at=14, name="train", namespace="research", sm=30, memory_mib=4000, watts=100, seconds=8)
    done, comparison = prove(made, replace(day, steps=(*day.steps, stranger)))
    assert set(comparison.product) == {"cc-research", "cc-serving", "unowned"}
    train = [hold for hold in done.testimony.holds if hold.pod.startswith("train")]
    assert len(train) == 1
    assert comparison.product["cc-research"].busy_s < comparison.witness["cc-research"].busy_s


def test_mig_is_reconfigured_under_load(made: Stage) -> None:
    done, comparison = prove(made, SCENARIOS["reconfigure"])
    assert {hold.profile for hold in done.testimony.holds} >= {"3g.40gb", "2g.20gb", "1g.10gb", "4g.40gb", None}
    assert comparison.product["cc-red"].busy_s > 10


def test_agent_and_aggregator_are_killed(made: Stage) -> None:
    """What nobody observed is billed by the second meter."""
    agent, aggregator = SCENARIOS["agent"], SCENARIOS["aggregator"]
    both = replace(agent, faults=(*agent.faults, *aggregator.faults))
    done, comparison = prove(made, both)
    assert done.killed == {"agent": 2, "aggregator": 2, "database": 2}
    assert comparison.by_api_s > 10


def test_a_storm_of_jobs_on_shares_and_slices(made: Stage) -> None:
    """Time-slicing in four, beside a card in sevenths."""
    done, _ = prove(made, replace(SCENARIOS["storm"], sharing=Sharing(replicas=4)))
    assert len({hold.uid for hold in done.testimony.holds}) == 100
    assert {hold.part for hold in done.testimony.holds} == {Fraction(1, 4), Fraction(1, 7)}
