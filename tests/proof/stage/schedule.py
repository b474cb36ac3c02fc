"""When what happens in a scenario: its steps one by one, and its faults at moments that a seed chooses."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.proof.stage.scenario import Apply, Restart, Scenario, Step


def scheduled(scenario: Scenario, seed: int) -> tuple[Step, ...]:
    """All that happens, in order: its steps, and its faults at the moments that the seed gives them.

    A part's moments lie apart, so that it is up again before it is killed anew.
    """
    chance = random.Random(f"{scenario.name}/{seed}")
    steps = list(scenario.steps)
    for fault in scenario.faults:
        first, last = fault.between
        room = (last - first) / fault.times
        for number in range(fault.times):
            at = first + number * room + chance.uniform(0, max(0.0, room - fault.down))
            steps.append(Restart(at=round(at, 3), part=fault.part, down=fault.down))
    return tuple(sorted(steps, key=lambda step: step.at))


def unfold(step: Step) -> tuple[Step, ...]:
    """Several Jobs are several steps."""
    if not isinstance(step, Apply) or step.kind == "deployment" or step.count == 1:
        return (step,)
    return tuple(
        replace(step, at=step.at + number * step.every, name=f"{step.name}-{number + 1}", count=1)
        for number in range(step.count)
    )
