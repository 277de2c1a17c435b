"""The promises of design page 2 beside validators that plan, on stakes of every shape and over a change of config."""

from dataclasses import replace

import pytest

from oracle.consensus import aggregate
from oracle.consensus.network import effective_stakes
from oracle.consensus.simulate import simulate
from oracle.consensus.simulate_node import Behaviour, Settings
from oracle.consensus.simulate_plots import PLOTS

STAKES = {
    "equal": (1,) * 7,
    "whale": (1_000, *(10,) * 9),
    "dust": (40, 30, 20, 10, *(1,) * 12),
    "three": (5, 5, 5),
    "six, where four are exactly two thirds": (1,) * 6,
    "halves": (3, 3, 3, 3, 2, 2, 2),
}
SHORT = Settings(slots=40, outcomes=3, edge=True)


def under_a_third(stakes, *, most=4):
    """Rows that hold the most together while under a third of the effective stake."""
    weights, rows, held = effective_stakes(sorted((s * 10**18 for s in stakes), reverse=True)), [], 0
    for row, weight in enumerate(weights):
        if 3 * (held + weight) < sum(weights) and len(rows) < most:
            rows, held = [*rows, row], held + weight
    return rows


def kept(verdict):
    return (verdict.safety, verdict.liveness) == ([], [])


@pytest.mark.parametrize("kind", PLOTS)
def test_promises__several_under_a_third_plot_together__hold(kind):
    stakes = STAKES["equal"]
    verdict = simulate(replace(SHORT, stakes=stakes, byzantine=tuple((row, kind) for row in under_a_third(stakes))))
    assert kept(verdict)
    assert verdict.due >= 5


@pytest.mark.parametrize("stakes", STAKES.values(), ids=STAKES)
def test_promises__any_stakes_leader_hunted_and_config_changed__hold(stakes):
    rows = under_a_third(stakes)
    byzantine = tuple((row, PLOTS[at % len(PLOTS)]) for at, row in enumerate(rows))
    changing = replace(SHORT, stakes=stakes, byzantine=byzantine, change_after=20, hunt=200, slots=35, seed=3)
    verdict = simulate(changing)
    assert kept(verdict)
    assert verdict.reports >= 5


def test_config_change__mid_flight_without_faults__no_slot_is_lost_to_those_who_knew():
    calm = replace(SHORT, loss=0, late=0, partition=0, crash=0, change_after=20, seed=2)
    verdict = simulate(calm)
    assert kept(verdict)
    assert verdict.reports >= verdict.slots - 1


def test_flooding_leader__thirty_dear_proposals__few_are_checked():
    byzantine = ((0, Behaviour.FLOODING_LEADER),)
    verdict = simulate(replace(SHORT, stakes=STAKES["equal"], byzantine=byzantine, loss=0, late=0, crash=0))
    checked = verdict.counts["refused_SignedProposal:BadSignature"]
    assert 0 < checked <= 6 * SHORT.slots
    assert verdict.counts["refused_SignedProposal:UnaskedProposal"] > 5 * checked
    assert kept(verdict)


# The judge must be able to find fault with what these adversaries are for.


def test_judge__plain_rescale_of_three_outcomes__finds_values_outside_the_honest(monkeypatch):
    monkeypatch.setattr(aggregate, "rescale_within", lambda parts, ranges: (aggregate.rescale(parts), True))
    rows = under_a_third(STAKES["equal"])
    lying = replace(SHORT, stakes=STAKES["equal"], byzantine=tuple((row, Behaviour.ADAPTIVE) for row in rows))
    assert any("outside the honest" in sentence for sentence in simulate(lying).safety)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("stakes", STAKES.values(), ids=STAKES)
def test_soak__every_plot_on_every_stake__promises_hold(stakes, seed):
    kinds = [kind for kind in Behaviour if kind is not Behaviour.HONEST]
    rows = under_a_third(stakes)
    byzantine = tuple((row, kinds[(seed + 3 * at) % len(kinds)]) for at, row in enumerate(rows))
    settings = Settings(
        stakes=stakes, slots=120, seed=seed, byzantine=byzantine, outcomes=2 + seed % 4, edge=bool(seed & 1),
        change_after=60 * (seed & 2 > 0), hunt=100 * (seed % 3), slot_seconds=(12, 20, 60)[seed % 3],
    )  # fmt: skip
    assert kept(simulate(settings))


@pytest.mark.soak
@pytest.mark.parametrize("kind", PLOTS)
def test_soak__sixty_four_validators__promises_hold(kind):
    stakes = tuple(range(64, 128))
    byzantine = tuple((row, kind) for row in under_a_third(stakes, most=12))
    assert kept(simulate(replace(SHORT, stakes=stakes, slots=20, byzantine=byzantine)))
