"""Rules of the round, one by one, on single cores; the promises of many together are in test_simulate.py."""

from dataclasses import replace

import pytest

from oracle.consensus.events import (
    Accuse,
    Attested,
    Broadcast,
    Count,
    JournalState,
    Observe,
    Observed,
    Received,
    Send,
    SetTimer,
    Sign,
    Signed,
    SignRefused,
    SlotStarted,
    Superseded,
    Timer,
    TimerFired,
    TimerKind,
)
from oracle.consensus.messages import (
    Kind,
)
from oracle.consensus.protocol import Core
from oracle.consensus.schedule import proposal_deadline_ms
from oracle.consensus.simulate_node import recover, sign
from oracle.errors import LocalFault, Unencodable, WrongKey
from tests.strategies.rounds import (
    CONFIG,
    NOTHING,
    NOW,
    SLOT,
    START,
    attestation,
    core_in_slot,
    do_sign,
    key,
    leader_with,
    of,
    refused,
    signed_observation,
    signed_proposal,
)

# --- observing ---


def test_observation__of_a_follower__goes_to_the_leader_only():
    core = core_in_slot(2)
    (want,) = core.receive(Observed(SLOT, START // 1000, NOTHING), NOW)
    assert (want.kind, want.slot) == (Kind.OBSERVATION, SLOT)
    sent = do_sign(core, want)
    assert not of(Broadcast, sent)
    (send,) = of(Send, sent)
    assert send.to == key(0) and send.message.signer == 2
    assert core.receive(Observed(SLOT, START // 1000 + 1, NOTHING), NOW) == []


def test_observation__values_that_peers_would_refuse__raises_before_signing():
    with pytest.raises(Unencodable):
        core_in_slot(2).receive(Observed(SLOT, START // 1000, ()), NOW)


@pytest.mark.parametrize(("slot", "observed_at"), [(SLOT - 1, START // 1000), (SLOT, START // 1000 + 20)])
def test_observation__of_another_slot__is_not_signed(slot, observed_at):
    effects = core_in_slot(2).receive(Observed(slot, observed_at, NOTHING), NOW)
    assert effects == [Count("late_observation")]


# --- when nothing is signed ---


def test_signing__journal_state_unknown__nothing():
    core = Core(CONFIG, 2, recover)
    assert core.receive(SlotStarted(SLOT), NOW) == [Count("silent_slot")]
    assert not of(Sign, core.receive(Received(signed_proposal()), NOW))


def test_signing__empty_journal__nothing_in_that_slot_and_the_next():
    core = Core(CONFIG, 2, recover)
    core.receive(JournalState(empty=True), NOW)
    for ahead, observes in ((0, False), (1, False), (2, True)):
        effects = core.receive(SlotStarted(SLOT + ahead), NOW + ahead * 20_000)
        assert (Observe(SLOT + ahead) in effects) is observes
        effects = core.receive(Observed(SLOT + ahead, START // 1000 + ahead * 20, NOTHING), NOW + ahead * 20_000)
        assert bool(of(Sign, effects)) is observes


def test_signing__slot_that_is_not_the_clocks__nothing():
    core = core_in_slot(2)
    assert core.receive(SlotStarted(SLOT + 1), NOW) == [Count("late_slot")]
    effects = core.receive(Received(signed_proposal(slot=SLOT)), START + 20_000)
    assert not of(Sign, effects)


def test_signature__ready_after_the_slots_end__is_not_sent():
    core = core_in_slot(2)
    (want,) = core.receive(Observed(SLOT, START // 1000, NOTHING), START + 19_999)
    assert do_sign(core, want, START + 20_000) == [Count("late_signature", Kind.OBSERVATION)]


def test_signing__before_first_slot_or_after_superseded__nothing():
    early = CONFIG.first_slot - 1
    core = Core(CONFIG, 2, recover)
    core.receive(JournalState(empty=False), CONFIG.slot_start_ms(early))
    assert not of(Observe, core.receive(SlotStarted(early), CONFIG.slot_start_ms(early)))
    assert of(Observe, core.receive(SlotStarted(early + 1), CONFIG.slot_start_ms(early + 1)))
    core.receive(Superseded(SLOT), NOW)
    assert of(Observe, core.receive(SlotStarted(SLOT - 1), START - 1))
    assert not of(Observe, core.receive(SlotStarted(SLOT), START))


def test_signing__onlooker__never_but_learns_the_report():
    core, proposal = core_in_slot(None), signed_proposal()
    effects = core.receive(Received(proposal), NOW)
    for row in (0, 1, 2):
        effects += core.receive(Received(attestation(row, proposal)), NOW)
    assert of(Attested, effects) and not of(Sign, effects) and not of(SetTimer, effects)


def test_sign__refused_by_the_journal__is_counted():
    core = core_in_slot(2)
    assert core.receive(SignRefused(Kind.REPORT, SLOT, "SlotAlreadySigned"), NOW) == [
        Count("unsigned_report", "SlotAlreadySigned")
    ]


def test_signed__wrong_key_or_unasked__raises():
    core = core_in_slot(2)
    (want,) = core.receive(Observed(SLOT, START // 1000, NOTHING), NOW)
    with pytest.raises(WrongKey):
        core.receive(Signed(want.kind, SLOT, want.digest, sign(key(1), want.digest)), NOW)
    with pytest.raises(LocalFault):
        core.receive(Signed(Kind.REPORT, SLOT, want.digest, sign(key(2), want.digest)), NOW)
    with pytest.raises(LocalFault):
        Core(CONFIG, 4, recover)


# --- leading ---


def test_leader__quorum_without_everybody__waits_grace_then_proposes():
    core, effects = leader_with([1, 2])
    assert effects == []
    (timer,) = core.receive(Received(signed_observation(3)), NOW) or [None]
    assert timer == SetTimer(Timer(TimerKind.GRACE, SLOT), NOW + CONFIG.grace_ms)
    (want,) = core.receive(TimerFired(timer.timer), timer.at_ms)
    assert want.kind is Kind.PROPOSAL
    effects = do_sign(core, want)
    (out,) = of(Broadcast, effects)
    assert [item.signer for item in out.message.proposal.observations] == [1, 2, 3]
    assert [effect.kind for effect in of(Sign, effects)] == [Kind.REPORT]


def test_leader__everybody_in__proposes_at_once_and_once():
    core, _ = leader_with([1, 2, 3])
    (own,) = core.receive(Observed(SLOT, START // 1000, NOTHING), NOW)
    (want,) = of(Sign, do_sign(core, own))
    assert want.kind is Kind.PROPOSAL
    assert core.receive(TimerFired(Timer(TimerKind.GRACE, SLOT)), NOW + 500) == []


def test_leader__quorum_just_before_the_deadline__proposes_without_grace_and_never_after():
    deadline = proposal_deadline_ms(CONFIG, SLOT)
    _, effects = leader_with([1, 2, 3], deadline - 100)
    assert [effect.kind for effect in of(Sign, effects)] == [Kind.PROPOSAL]
    _, effects = leader_with([1, 2, 3], deadline)
    assert effects == []


def test_leader__proposal_signed_after_the_deadline__is_not_sent():
    deadline = proposal_deadline_ms(CONFIG, SLOT)
    core, (want,) = leader_with([1, 2, 3], deadline - 100)
    assert do_sign(core, want, deadline) == [Count("late_signature", Kind.PROPOSAL)]


def test_leader__two_observations_of_one_row__keeps_the_first_and_accuses():
    core, _ = leader_with([1])
    effects = core.receive(Received(signed_observation(1, at=2)), NOW)
    (accuse,) = of(Accuse, effects)
    assert (accuse.evidence.kind, accuse.evidence.offender) == (Kind.OBSERVATION, 1)
    assert core.receive(Received(signed_observation(1, at=3)), NOW) == []
    assert core.receive(Received(signed_observation(1)), NOW) == []


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (replace(signed_observation(1), signer=2), "BadSignature"),
        (signed_observation(1, at=20), "SlotTimeMismatch"),
        (signed_observation(1, slot=SLOT + 2), "WrongSlot"),
        (signed_observation(1, slot=SLOT - 1), "WrongSlot"),
    ],
)
def test_leader__bad_observation__is_counted_by_rule(message, rule):
    assert refused(core_in_slot(0).receive(Received(message), NOW)) == [rule]


def test_follower__observation_not_meant_for_it__is_refused():
    assert refused(core_in_slot(1).receive(Received(signed_observation(2)), NOW)) == ["NotTheLeader"]
