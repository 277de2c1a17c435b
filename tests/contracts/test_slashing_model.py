"""Any story of offences and settlements, on the chain and in a model. Slashing over a mock of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oracle.chain.localnet import LocalChain
from tests.contracts.slashing_bench import ALL, OBSERVATION, PROPOSAL, REPORT, WINDOW, Bench

FIVE = 5 * ALL // 100
BUCKET = WINDOW // 8
ORDER = (PROPOSAL, OBSERVATION, REPORT)


@pytest.fixture(scope="module")
def chain():
    return LocalChain(accounts=80)


def began(bench, slot):
    return bench.configs[0].slot_start_ms(slot) // 1000


@dataclass
class Known:
    """What the model remembers of a validator."""

    kind: int = 0
    open: bool = False
    times: tuple[int, int] = (0, 0)
    jailed_at: int = 0
    taken: int = 0


@dataclass
class Model:
    """Rates from the list of all offences, searched from end to end, in whole numbers."""

    stakes: list[int]
    known: list[Known] = field(default_factory=list)
    shown: set[tuple[int, int, int]] = field(default_factory=set)
    counted: list[tuple[int, int]] = field(default_factory=list)

    def show(self, kind: int, row: int, slot: int, time: int, now: int) -> str:
        """The reason to refuse an offence, empty if it is taken."""
        if now >= time + WINDOW:
            return "evidence window is over"
        case = self.known[row]
        if case.kind and time > case.jailed_at:
            return "key was revoked before"
        if (kind, row, slot) in self.shown:
            return "offence was reported"
        low, high = case.times
        if kind == case.kind == REPORT:
            if low <= time <= high:
                return "nothing graver"
            low, high = min(low, time), max(high, time)
        elif kind <= case.kind:
            return "case is open" if case.open else "nothing graver"
        else:
            low = high = time
            if kind == REPORT:
                self.counted.append((row, time))
        self.shown.add((kind, row, slot))
        self.known[row] = Known(kind, kind != PROPOSAL, (low, high), case.jailed_at or now, case.taken)
        return ""

    def total(self, row: int) -> int:
        """Rate of a case as a whole."""
        case = self.known[row]
        if case.kind != REPORT:
            return FIVE
        first, last = (case.times[0] - WINDOW) // BUCKET, (case.times[1] + WINDOW) // BUCKET
        near = {other for other, time in self.counted if first <= time // BUCKET <= last}
        shares = sum(-(-self.stakes[other] * ALL // sum(self.stakes)) for other in near)
        return max(FIVE, min(ALL, 3 * shares))

    def due(self, row: int) -> int:
        """What a settlement now takes of what is left."""
        taken = self.known[row].taken
        return -(-max(0, self.total(row) - taken) * ALL // (ALL - taken)) if taken < ALL else 0


STEP = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([60, 600, BUCKET, WINDOW // 2, WINDOW])),
    st.tuples(st.just("show"), st.sampled_from(ORDER), st.integers(0, 4), st.integers(0, 140)),
    st.tuples(st.just("show"), st.just(REPORT), st.integers(0, 4), st.integers(0, 12)),
    st.tuples(st.just("settle"), st.integers(0, 4)),
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)  # fmt: skip
@given(stakes=st.lists(st.integers(1, 40), min_size=5, max_size=5), steps=st.lists(STEP, min_size=5, max_size=30))
def test_cases__any_story__cost_what_the_model_says(chain, ask, reverts, stakes, steps):
    with chain.rewound():
        bench = Bench.start(chain, stakes)
        chain.move_to(chain.now + 3_600)
        model = Model(stakes, [Known() for _ in stakes])
        for step in steps:
            follow(bench, model, ask, reverts, step)
        for row, case in enumerate(model.known):
            owner = bench.owner(row)
            assert ask(bench.slashing, "rateOf", owner) == (model.due(row) if case.open else 0)
            assert ask(bench.slashing, "caseOf", owner)[:2] == (case.kind, case.open)


def follow(bench, model, ask, reverts, step):
    """One step on the chain and in the model."""
    if step[0] == "wait":
        bench.chain.move_to(bench.chain.now + step[1])
    elif step[0] == "show":
        _, kind, row, back = step
        slot = max(100, bench.slot_now() - back)
        proof, now = bench.proof(kind, row, slot), bench.chain.now
        reason = model.show(kind, row, slot, began(bench, slot), now)
        if reason:
            with reverts(f"slashing: {reason}"):
                ask(bench.slashing, "reportEquivocation", proof.argument)
        else:
            bench.report(proof)
    else:
        case, owner = model.known[step[1]], bench.owner(step[1])
        if not case.open or bench.chain.now < case.times[1] + WINDOW:
            with reverts("slashing: evidence window is open" if case.open else "slashing: no open case"):
                ask(bench.slashing, "settle", owner)
        else:
            assert bench.settle(step[1])["rate"] == model.due(step[1])
            case.taken, case.open = max(case.taken, model.total(step[1])), False
