"""Rules of the round from the proposal on: attesting, assembling, transmitting."""

from dataclasses import replace

import pytest

from oracle.consensus.events import (
    Accuse,
    Attested,
    Broadcast,
    ChainHeads,
    Count,
    Head,
    ReadHeads,
    Received,
    Send,
    SetTimer,
    Sign,
    SlotStarted,
    Superseded,
    TimerFired,
    Transmit,
)
from oracle.consensus.messages import (
    Kind,
    ProposalRequest,
)
from oracle.consensus.rounds import PROPOSALS
from oracle.consensus.schedule import order, proposal_deadline_ms
from tests.strategies.rounds import (
    CONFIG,
    NOW,
    SLOT,
    START,
    attestation,
    core_in_slot,
    do_sign,
    key,
    of,
    refused,
    report_of,
    signed_observation,
    signed_proposal,
)

# --- attesting ---


def test_proposal__valid__is_attested_to_everyone_once():
    core, proposal = core_in_slot(1), signed_proposal()
    (want,) = of(Sign, core.receive(Received(proposal), NOW))
    assert (want.kind, want.digest) == (Kind.REPORT, report_of(proposal).digest(CONFIG))
    (out,) = of(Broadcast, do_sign(core, want))
    assert out.message == attestation(1, proposal)
    assert core.receive(Received(proposal), NOW) == []


TAMPERED = signed_observation(2)
TAMPERED = replace(TAMPERED, observation=replace(TAMPERED.observation, observed_at=START // 1000 + 3))


@pytest.mark.parametrize(
    ("proposal", "rule"),
    [
        (signed_proposal(rows=(0, 1)), "NoQuorum"),
        (signed_proposal(signer=1), "NotTheLeader"),
        (signed_proposal(at=20), "SlotTimeMismatch"),
        (signed_proposal(items=(signed_observation(0), signed_observation(1), TAMPERED)), "BadSignature"),
        (signed_proposal(slot=SLOT + 5), "WrongSlot"),
    ],
)
def test_proposal__breaks_a_rule__is_not_attested(proposal, rule):
    effects = core_in_slot(1).receive(Received(proposal), NOW)
    assert refused(effects) == [rule] and not of(Sign, effects)


def test_proposal__second_of_the_leader__is_evidence_and_not_attested():
    core, first, second = core_in_slot(1), signed_proposal(), signed_proposal(rows=(0, 1, 3))
    core.receive(Received(first), NOW)
    effects = core.receive(Received(second), NOW)
    (accuse,) = of(Accuse, effects)
    assert (accuse.evidence.kind, accuse.evidence.first, accuse.evidence.second) == (Kind.PROPOSAL, first, second)
    assert refused(effects) == ["UnaskedProposal"] and not of(Sign, effects)


def test_proposal__straight_from_the_leader__is_attested_until_sixty_percent():
    deadline = proposal_deadline_ms(CONFIG, SLOT)
    assert of(Sign, core_in_slot(1).receive(Received(signed_proposal()), deadline - 1))
    effects = core_in_slot(1).receive(Received(signed_proposal()), deadline)
    assert refused(effects) == ["LateProposal"]


@pytest.mark.parametrize(("voucher", "signs"), [(2, True), (0, False)])
def test_proposal__learnt_from_a_peer__is_attested_until_the_slots_end(voucher, signs):
    core, proposal, late = core_in_slot(1), signed_proposal(), START + 19_999
    effects = core.receive(Received(attestation(voucher, proposal)), late)
    assert effects == [Send(key(voucher), ProposalRequest(CONFIG.digest, SLOT, proposal.proposal.struct_hash, 1))]
    assert bool(of(Sign, core.receive(Received(proposal), late))) is signs


def test_proposal__ahead_of_our_clock__is_attested_when_the_slot_starts():
    core = core_in_slot(1, SLOT - 1, START - 1_500)
    assert not of(Sign, core.receive(Received(signed_proposal()), START - 1_000))
    assert [effect.kind for effect in of(Sign, core.receive(SlotStarted(SLOT), START))] == [Kind.REPORT]


def test_proposal_request__of_a_known_proposal__is_answered_twice_to_its_row():
    core, proposal = core_in_slot(1), signed_proposal()
    request = ProposalRequest(CONFIG.digest, SLOT, proposal.proposal.struct_hash, 3)
    assert refused(core.receive(Received(request), NOW)) == ["UnknownProposal"]
    core.receive(Received(proposal), NOW)
    for _ in range(2):
        assert core.receive(Received(request), NOW) == [Send(key(3), proposal)]
    assert refused(core.receive(Received(request), NOW)) == ["UnknownProposal"]


def test_attestation__second_report_of_one_row__is_evidence():
    core, first, second = core_in_slot(1), signed_proposal(), signed_proposal(rows=(0, 1, 2, 3), at=2)
    core.receive(Received(attestation(2, first)), NOW)
    effects = core.receive(Received(attestation(2, second)), NOW)
    (accuse,) = effects
    assert (accuse.evidence.kind, accuse.evidence.offender) == (Kind.REPORT, 2)


def test_attestation__name_rewritten_on_the_way__the_true_name_is_still_asked_for():
    core, proposal = core_in_slot(1), signed_proposal()
    true = attestation(2, proposal)
    core.receive(Received(replace(true, proposal=bytes(32))), NOW)
    (send,) = core.receive(Received(true), NOW)
    assert send.message.proposal == proposal.proposal.struct_hash
    for n in range(9):
        last = core.receive(Received(replace(true, proposal=bytes([n]) * 32)), NOW)
    assert last == []


def test_attestation__report_that_the_proposal_does_not_give__does_not_count():
    core, proposal = core_in_slot(1), signed_proposal()
    core.receive(Received(proposal), NOW)
    wrong = replace(report_of(proposal), root=bytes(32))
    for row in (0, 2, 3):
        effects = core.receive(Received(attestation(row, proposal, wrong)), NOW)
        assert refused(effects) == ["WrongReport"] and not of(Attested, effects)


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (replace(attestation(2, signed_proposal()), signer=3), "BadSignature"),
        (attestation(2, signed_proposal(at=20)), "SlotTimeMismatch"),
    ],
)
def test_attestation__bad__is_counted_by_rule(message, rule):
    assert refused(core_in_slot(1).receive(Received(message), NOW)) == [rule]


# --- transmitting ---


def attested_core(me=1):
    core, proposal = core_in_slot(me), signed_proposal()
    core.receive(Received(proposal), NOW)
    effects = []
    for row in (0, 2, 3):
        effects += core.receive(Received(attestation(row, proposal)), NOW)
    return core, proposal, effects


def test_report__more_than_two_thirds_attested__is_announced_once_with_fewest_signatures():
    core, proposal, effects = attested_core()
    (told,) = of(Attested, effects)
    assert told.proposal == proposal and told.attested.report == report_of(proposal)
    assert [row for row, _ in told.attested.signatures] == [0, 2, 3]
    assert not of(Attested, core.receive(Received(attestation(1, proposal)), NOW))


def test_report__attested_before_the_proposal_came__is_announced_with_it():
    core, proposal = core_in_slot(1), signed_proposal()
    for row in (0, 2, 3):
        assert not of(Attested, core.receive(Received(attestation(row, proposal)), NOW))
    assert of(Attested, core.receive(Received(proposal), NOW))


def test_report__of_a_leader_that_told_two_stories__is_assembled_from_the_other_story():
    core, mine, theirs = core_in_slot(1), signed_proposal(), signed_proposal(rows=(0, 2, 3), at=2)
    core.receive(Received(mine), NOW)
    for row in (0, 2, 3):
        core.receive(Received(attestation(row, theirs)), NOW)
    effects = core.receive(Received(theirs), NOW)
    assert of(Attested, effects) and of(Accuse, effects) and not of(Sign, effects)


def test_transmit__our_turn__reads_the_chain_then_sends_the_best_signatures_known():
    core, proposal, effects = attested_core()
    (timer,) = of(SetTimer, effects)
    stage = order(CONFIG, SLOT).index(1).bit_length()
    assert timer.at_ms == NOW + CONFIG.stage_ms // 4 + stage * CONFIG.stage_ms
    core.receive(Received(attestation(1, proposal)), NOW)
    assert core.receive(TimerFired(timer.timer), timer.at_ms) == [ReadHeads(SLOT)]
    (transmit,) = core.receive(ChainHeads({}), timer.at_ms)
    assert isinstance(transmit, Transmit) and transmit.pages == 0b111
    assert [row for row, _ in transmit.attested.signatures] == [0, 1, 2]
    assert transmit.attested.blob(transmit.pages)
    assert core.receive(ChainHeads({}), timer.at_ms) == []
    assert core.receive(TimerFired(timer.timer), timer.at_ms) == []


def test_transmit__chain_shows_the_slot__is_not_needed():
    core, _, effects = attested_core()
    (timer,) = of(SetTimer, effects)
    core.receive(TimerFired(timer.timer), timer.at_ms)
    heads = {feed.number: Head(feed.number, SLOT, True, 0) for feed in CONFIG.feeds}
    assert core.receive(ChainHeads(heads), timer.at_ms) == [Count("transmit_not_needed")]


def test_transmit__report_too_old_for_the_chain__is_dropped():
    core, _, effects = attested_core()
    (timer,) = of(SetTimer, effects)
    late = START + 20_000 + CONFIG.max_report_age * 1_000 + 1
    assert core.receive(TimerFired(timer.timer), late) == []
    core.receive(SlotStarted(CONFIG.slot_at(late)), late)
    assert core.receive(TimerFired(timer.timer), late) == []


@pytest.mark.parametrize("more", [(1, 3), ()])
def test_transmit__a_signers_key_was_revoked__waits_for_a_quorum_without_it(more):
    core, proposal, effects = attested_core()
    (timer,) = of(SetTimer, effects)
    core.receive(TimerFired(timer.timer), timer.at_ms)
    (again,) = core.receive(ChainHeads({}, revoked=frozenset({0})), timer.at_ms)
    assert isinstance(again, SetTimer) and again.timer == timer.timer and again.at_ms > timer.at_ms
    for row in more:
        core.receive(Received(attestation(row, proposal)), timer.at_ms)
    assert core.receive(TimerFired(timer.timer), again.at_ms) == [ReadHeads(SLOT)]
    (found,) = core.receive(ChainHeads({}, revoked=frozenset({0})), again.at_ms)
    if more:
        assert isinstance(found, Transmit) and [row for row, _ in found.attested.signatures] == [1, 2, 3]
    else:
        assert isinstance(found, SetTimer)


def proposals_with_a_bad_signature():
    items = signed_proposal().proposal.observations
    for number in range(20):
        yield signed_proposal(items=(*items[:2], replace(items[2], signature=bytes([number]) * 64)))


def test_proposal__leader_floods_with_dear_ones__the_first_is_checked_and_no_other():
    core = core_in_slot(1)
    rules = [refused(core.receive(Received(proposal), NOW)) for proposal in proposals_with_a_bad_signature()]
    assert rules == [["BadSignature"], *[["UnaskedProposal"]] * 19]
    assert refused(core.receive(Received(signed_proposal()), NOW)) == ["UnaskedProposal"]


def test_proposal__flood_that_an_ally_names__few_are_checked():
    core, checked = core_in_slot(1), 0
    for number, proposal in enumerate(proposals_with_a_bad_signature()):
        row = (2, 3)[number % 2]
        named = replace(attestation(row, signed_proposal()), proposal=proposal.proposal.struct_hash)
        core.receive(Received(named), NOW)
        for _ in range(2):
            checked += refused(core.receive(Received(proposal), NOW)) == ["BadSignature"]
    assert checked == PROPOSALS


def test_message__for_a_slot_of_the_next_config__opens_no_round():
    core = core_in_slot(1)
    core.receive(Superseded(SLOT + 1), NOW)
    for later in range(1, 50):
        request = ProposalRequest(CONFIG.digest, SLOT + later, bytes(32), 2)
        assert refused(core.receive(Received(request), START + later * 20_000)) == ["WrongSlot"]
    assert len(core._rounds) == 1
