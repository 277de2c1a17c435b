"""The promises of design page 2, run: real cores and wire bytes, a bad network, one Byzantine validator."""

from dataclasses import replace

import pytest

from oracle.consensus import aggregate, protocol
from oracle.consensus.messages import Kind
from oracle.consensus.simulate import simulate
from oracle.consensus.simulate_node import Behaviour, Settings
from oracle.consensus.simulate_plots import PLOTS

FOUR = Settings(stakes=(40, 30, 20, 10), slots=300)
SEVEN = Settings(stakes=(25, 20, 15, 12, 10, 10, 8), slots=160)
HABITS = [kind for kind in Behaviour if kind not in PLOTS]
PROVABLE = {
    Behaviour.EQUIVOCATING_LEADER: {(Kind.PROPOSAL, 0), (Kind.OBSERVATION, 0), (Kind.REPORT, 0)},
    Behaviour.DOUBLE_SIGNER: {(Kind.OBSERVATION, 0), (Kind.REPORT, 0)},
}


@pytest.mark.parametrize("settings", [FOUR, SEVEN], ids=["n4", "n7"])
@pytest.mark.parametrize("kind", HABITS)
def test_promises__bad_network_crashes_and_one_byzantine__hold(kind, settings):
    byzantine = () if kind is Behaviour.HONEST else ((0, kind),)
    verdict = simulate(replace(settings, byzantine=byzantine, seed=len(kind)))
    assert verdict.safety == []
    assert verdict.liveness == []
    assert verdict.due > verdict.slots // 6, "the run must put the liveness promise to the test"
    assert verdict.reports > verdict.slots // 2
    assert verdict.offenders == PROVABLE.get(kind, set())


@pytest.mark.parametrize("kind", [Behaviour.HONEST, Behaviour.HUGE_VALUES, Behaviour.DOUBLE_SIGNER])
def test_liveness__network_without_faults__every_slot_of_an_honest_leader_is_due_and_reported(kind):
    calm = replace(FOUR, slots=100, loss=0, late=0, partition=0, crash=0, seed=9)
    verdict = simulate(replace(calm, byzantine=() if kind is Behaviour.HONEST else ((3, kind),)))
    assert (verdict.safety, verdict.liveness) == ([], [])
    assert verdict.due >= verdict.slots * 3 // 4
    if kind is Behaviour.HONEST:
        assert verdict.due == verdict.slots == verdict.reports


def test_crashes__at_every_step_with_lost_journals__nothing_signed_twice():
    verdict = simulate(replace(FOUR, slots=150, crash=60, journal_loss=500, seed=4))
    assert verdict.crashes > 30
    assert (verdict.safety, verdict.liveness) == ([], [])


def test_run__same_seed__same_counts():
    first, second = (simulate(replace(SEVEN, slots=30, byzantine=((2, Behaviour.REPLAY),))) for _ in range(2))
    assert first == second
    assert first != simulate(replace(SEVEN, slots=30, byzantine=((2, Behaviour.REPLAY),), seed=2))


# The judge must be able to find fault: each of these breaks one rule and has to be noticed.


def test_judge__no_silence_after_a_lost_journal__finds_double_signing(monkeypatch):
    monkeypatch.setattr(protocol, "SILENT_SLOTS", 0)
    verdict = simulate(replace(FOUR, slots=150, crash=60, journal_loss=1_000, seed=4))
    assert any("signed two" in sentence for sentence in verdict.safety)


def test_judge__mean_instead_of_median__finds_values_outside_the_honest(monkeypatch):
    def mean(pairs):
        return sum(weight * value for weight, value in pairs) // sum(weight for weight, _ in pairs)

    monkeypatch.setattr(aggregate, "weighted_median", mean)
    verdict = simulate(replace(FOUR, slots=30, byzantine=((3, Behaviour.HUGE_VALUES),)))
    assert any("outside the honest" in sentence for sentence in verdict.safety)


def test_judge__leader_that_never_proposes__finds_missing_reports(monkeypatch):
    monkeypatch.setattr(protocol, "proposal_deadline_ms", lambda config, slot: 0)
    verdict = simulate(replace(FOUR, slots=30))
    assert verdict.due and len(verdict.liveness) == verdict.due


def test_judge__half_of_stake_taken_for_a_quorum__finds_a_report_without_one(monkeypatch):
    monkeypatch.setattr("oracle.consensus.schedule.has_quorum", lambda stake, total: 2 * stake > total)
    verdict = simulate(replace(FOUR, slots=30))
    assert any("without quorum" in sentence for sentence in verdict.safety)
