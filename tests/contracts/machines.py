"""How many steps the stateful machines take: a bounded share in the suite, 20,000 in all in `make soak`.

Each machine takes its share of the total, so adding one means giving it a part of the others'.
"""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

SOAK = bool(os.environ.get("DODONA_EXPLORE"))
STEPS = 20_000 if SOAK else 800
STEPS_A_RUN = 40 if SOAK else 25


class CountedMachine(RuleBasedStateMachine):
    """A machine that knows how many steps it took in all its runs."""

    steps = 0

    @invariant()
    def count_step(self) -> None:
        """Invariants run after every step."""
        type(self).steps += 1


def settings_for(share: float) -> settings:
    """Hypothesis settings under which a machine takes at least `share` of all steps (0 to 1)."""
    return settings(
        max_examples=math.ceil(1.25 * STEPS * share / STEPS_A_RUN) + 1, stateful_step_count=STEPS_A_RUN, deadline=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def run_machine(machine: type[CountedMachine], share: float) -> None:
    """Run a machine for its share, and fail if it took fewer steps than that."""
    machine.steps = 0
    run_state_machine_as_test(machine, settings=settings_for(share))
    wanted = math.floor(STEPS * share)
    print(f"{machine.__name__}: {machine.steps} steps, {wanted} wanted")
    assert machine.steps >= wanted, f"{machine.__name__} took {machine.steps} steps of {wanted}: give it more runs"
