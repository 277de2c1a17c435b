"""What proves an offence, and what does not. Slashing over a mock of Staking, Configurator and Aggregator."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts.artifacts import artifact
from oracle.chain.evidence import Proof, Statement, proof_of
from oracle.chain.localnet import LocalChain
from oracle.consensus.events import Evidence
from oracle.consensus.messages import (
    Attestation,
    Kind,
    Observation,
    Proposal,
    Report,
    SignedObservation,
    SignedProposal,
)
from tests.contracts.slashing_bench import (
    ALL,
    NOTHING,
    OBSERVATION,
    PROPOSAL,
    REPORT,
    SLOT_SECONDS,
    WINDOW,
    Bench,
)

KINDS = (PROPOSAL, OBSERVATION, REPORT)
HALF_N = 57896044618658097711785492504343953926418782139537452191302581570759080747168
ZERO = "0x" + "00" * 20
FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)  # fmt: skip


@pytest.fixture(scope="module")
def first_bench():
    """Two configs: 40/30/20/10, then, from slot 110 on, 10/40/30/20 under other keys."""
    bench = Bench.start(LocalChain(accounts=80), [40, 30, 20, 10])
    bench.chain.move_to(bench.configs[0].slot_start_ms(109) // 1000 + 5)
    bench.add([40, 30, 20, 10], first_key=100)
    bench.chain.move_to(bench.configs[1].slot_start_ms(120) // 1000 + 5)
    return bench


@pytest.fixture
def bench(first_bench):
    taken = first_bench.chain.snapshot()
    yield first_bench
    first_bench.chain.revert(taken)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "slot"), [(1, 100), (1, 109), (2, 110), (2, 120)])
def test_report__two_signatures_of_one_slot__names_the_owner(bench, ask, kind, count, slot):
    config = bench.configs[count - 1]
    proof = bench.proof(kind, 1, slot, config)
    key = bench.chain.w3.to_checksum_address(config.rows[1].address)
    began = config.slot_start_ms(slot) // 1000
    assert tuple(ask(bench.slashing, "offenceOf", proof.argument)) == (bench.owner(1), key, began, 3 * ALL // 10)
    assert not ask(bench.slashing, "reported", kind, count, 1, slot)
    receipt = bench.report(proof)
    (told,) = bench.events("Equivocated", receipt)
    reporter = bench.chain.accounts[-1]
    assert told == {
        "owner": bench.owner(1), "reporter": reporter, "kind": kind, "key": key, "count": count, "slot": slot,
        "time": began, "share": 3 * ALL // 10,
    }  # fmt: skip
    now = bench.chain.w3.eth.get_block("latest")["timestamp"]
    frozen, until = (0 if kind == PROPOSAL else count), now + (4 * WINDOW if kind == REPORT else WINDOW)
    (changed,) = bench.events("CaseChanged", receipt)
    settles = 0 if kind == PROPOSAL else began + WINDOW
    assert changed == {
        "owner": bench.owner(1), "kind": kind, "config": frozen, "settlesAt": settles, "jailedUntil": until,
    }  # fmt: skip
    (jailed,) = bench.events("Jailed", receipt, bench.mock)
    assert jailed == {"owner": bench.owner(1), "until": until, "config": frozen}
    assert ask(bench.slashing, "reported", kind, count, 1, slot)
    share = 3 * ALL // 10 if kind == REPORT else 0
    case = (kind, kind != PROPOSAL, count, began, began, now, share, 0, reporter)
    assert tuple(ask(bench.slashing, "caseOf", bench.owner(1))) == case
    assert ask(bench.slashing, "settlesAt", bench.owner(1)) == settles


def changed_first(proof: Proof, **changes) -> Proof:
    return replace(proof, first=replace(proof.first, **changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("slashing: unknown config", lambda p: replace(p, count=0)),
        ("slashing: unknown config", lambda p: replace(p, count=3)),
        ("slashing: slot of another config", lambda p: replace(p, count=1)),
        ("slashing: slot of another config", lambda p: replace(p, slot=109)),
        ("slashing: slot is in the future", lambda p: replace(p, slot=121)),
        ("slashing: unknown row", lambda p: replace(p, row=4)),
        ("slashing: unknown row", lambda p: replace(p, row=255)),
        ("slashing: unknown kind", lambda p: replace(p, kind=0)),
        ("slashing: unknown kind", lambda p: replace(p, kind=4)),
        ("slashing: statements are the same", lambda p: replace(p, second=p.first)),
        ("slashing: bad signature", lambda p: replace(p, row=2)),
        ("slashing: bad signature", lambda p: replace(p, slot=119)),
        ("slashing: bad signature", lambda p: changed_first(p, content=b"\5" * 32)),
        ("slashing: bad signature", lambda p: changed_first(p, signature=bytes(64))),
        ("slashing: bad signature", lambda p: changed_first(p, signature=p.second.signature)),
        ("slashing: bad signature", lambda p: replace(p, second=replace(p.second, content=b"\5" * 32))),
        ("slashing: bad signature length", lambda p: changed_first(p, signature=p.first.signature[:63])),
        ("slashing: bad signature length", lambda p: changed_first(p, signature=b"")),
        ("slashing: high s", lambda p: changed_first(p, signature=b"\1" * 32 + (HALF_N + 1).to_bytes(32))),
    ],
)
def test_report__what_proves_nothing__reverts(bench, ask, reverts, kind, reason, change):
    proof = bench.proof(kind, 1)
    ask(bench.slashing, "offenceOf", proof.argument)
    with reverts(reason):
        ask(bench.slashing, "reportEquivocation", change(proof).argument)


@pytest.mark.parametrize(
    ("kind", "change"),
    [(PROPOSAL, {"observed_at": 1}), (PROPOSAL, {"extra": b"\1" * 32}), (REPORT, {"extra": b"\1" * 32})],
)
def test_report__one_statement_with_rubbish_in_an_unused_field__is_no_second_one(bench, ask, reverts, kind, change):
    proof = bench.proof(kind, 1)
    with reverts("slashing: unused field is not zero"):
        ask(bench.slashing, "reportEquivocation", replace(proof, second=replace(proof.first, **change)).argument)
    with reverts("slashing: unused field is not zero"):
        ask(bench.slashing, "digestOf", kind, 2, 120, astuple(replace(proof.first, **change)))


@pytest.mark.parametrize("field", ["observed_at", "content", "extra"])
def test_report__observations_that_differ_in_one_field__are_two(bench, ask, field):
    first = bench.proof(OBSERVATION, 1).first
    other = replace(first, **{field: first.observed_at + 1 if field == "observed_at" else b"\7" * 32})
    second = bench.sign(OBSERVATION, bench.configs[1], 1, 120, other)
    offence = ask(bench.slashing, "offenceOf", Proof(OBSERVATION, 2, 1, 120, first, second).argument)
    assert offence[0] == bench.owner(1)


@pytest.mark.parametrize(
    "domain",
    [{"chainId": 1}, {"verifyingContract": "0x" + "11" * 20}, {"name": "Dodona Staking"}, {"version": "2"}],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_report__signed_for_another_chain_contract_or_domain__reverts(bench, ask, reverts, kind, domain):
    """Evidence of a twin network, or of a fork under another chain id, convicts nobody here."""
    proof = bench.proof(kind, 1)
    signed = [
        bench.sign(kind, bench.configs[1], 1, proof.slot, statement, **domain)
        for statement in (proof.first, proof.second)
    ]
    with reverts("slashing: bad signature"):
        ask(bench.slashing, "reportEquivocation", replace(proof, first=signed[0], second=signed[1]).argument)


@pytest.mark.parametrize("kind", KINDS)
def test_report__two_digests_of_one_slot__is_no_offence(bench, ask, reverts, kind):
    """A roll that a reorg undid leaves a config of the same number and another digest."""
    proof = bench.proof(kind, 1)
    orphan = replace(bench.configs[1], randomness=b"\1" * 32)
    first = bench.sign(kind, orphan, 1, proof.slot, proof.first)
    with reverts("slashing: bad signature"):
        ask(bench.slashing, "reportEquivocation", replace(proof, first=first).argument)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "slot"), [(1, 110), (1, 99), (2, 109)])
def test_report__well_signed_for_a_slot_next_to_its_config__reverts(bench, ask, reverts, kind, count, slot):
    """A slot has one digest: what was signed for it under another one counts nowhere, so it convicts nobody."""
    with reverts("slashing: slot of another config"):
        ask(bench.slashing, "offenceOf", bench.proof(kind, 1, slot, bench.configs[count - 1]).argument)


def test_report__before_its_slot_starts__has_to_wait(bench, ask, reverts):
    proof = bench.proof(REPORT, 1, slot=121)
    began = bench.configs[1].slot_start_ms(121) // 1000
    bench.chain.move_to(began - 1)
    with reverts("slashing: slot is in the future"):
        ask(bench.slashing, "offenceOf", proof.argument)
    bench.chain.move_to(began)
    assert ask(bench.slashing, "offenceOf", proof.argument)[2] == began


@pytest.mark.parametrize("kind", KINDS)
def test_report__one_window_after_the_slot_began__is_too_late(bench, ask, reverts, kind):
    proof = bench.proof(kind, 1)
    ends = bench.configs[1].slot_start_ms(120) // 1000 + WINDOW
    bench.chain.move_to(ends - 1)
    assert ask(bench.slashing, "offenceOf", proof.argument)[0] == bench.owner(1)
    bench.chain.move_to(ends)
    with reverts("slashing: evidence window is over"):
        ask(bench.slashing, "reportEquivocation", proof.argument)


@pytest.mark.parametrize(("late", "refused"), [(-1, True), (0, False), (1, False)])
def test_report__key_revoked_around_the_slots_start__counts_from_the_second_before(bench, ask, reverts, late, refused):
    proof = bench.proof(REPORT, 1)
    began = bench.configs[1].slot_start_ms(120) // 1000
    key = bench.chain.w3.to_checksum_address(bench.configs[1].rows[1].address)
    bench.send(bench.mock.functions.setRevoked(key, began + late))
    if refused:
        with reverts("slashing: key was revoked before"):
            ask(bench.slashing, "reportEquivocation", proof.argument)
    else:
        assert ask(bench.slashing, "offenceOf", proof.argument)[0] == bench.owner(1)


@pytest.mark.parametrize("kind", KINDS)
def test_report__same_offence_again__reverts(bench, ask, reverts, kind):
    bench.report(bench.proof(kind, 1))
    with reverts("slashing: offence was reported"):
        ask(bench.slashing, "reportEquivocation", bench.proof(kind, 1).argument)
    with reverts("slashing: offence was reported"):
        ask(bench.slashing, "reportEquivocation", bench.proof(kind, 1, salt=9).argument)


def test_report__no_network_yet__reverts(bench, ask, reverts):
    proof = bench.proof(REPORT, 1)
    bench.send(bench.mock.functions.setAggregator(ZERO))
    with reverts("slashing: no aggregator"):
        ask(bench.slashing, "reportEquivocation", proof.argument)
    with reverts("slashing: no aggregator"):
        ask(bench.slashing, "digestOf", REPORT, 2, 120, astuple(proof.first))


def test_digest_of__unknown_kind_or_config__reverts(bench, ask, reverts):
    statement = astuple(bench.proof(REPORT, 1).first)
    for kind in (0, 4, 2**255):
        with reverts("slashing: unknown kind"):
            ask(bench.slashing, "digestOf", kind, 2, 120, statement)
    for count in (0, 3):
        with reverts("slashing: unknown config"):
            ask(bench.slashing, "digestOf", REPORT, count, 120, statement)


def test_deploy__no_staking__reverts(bench, reverts):
    built = artifact("Slashing")
    call = bench.chain.w3.eth.contract(abi=built.abi, bytecode=built.bytecode).constructor(ZERO)
    with reverts("slashing: no staking"):
        bench.chain.w3.eth.call(call.build_transaction({"gas": 10**7, "from": bench.chain.accounts[0]}), "pending")


def test_views__constructor_arguments__are_readable(bench, ask):
    assert ask(bench.slashing, "staking") == bench.mock.address
    assert ask(bench.slashing, "evidenceSeconds") == WINDOW


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("caseOf", (ZERO,)), ("settlesAt", (ZERO,)), ("rateOf", (ZERO,)), ("equivocated", (0,)),
        ("reported", (3, 1, 0, 100)), ("staking", ()), ("evidenceSeconds", ()), ("settle", (ZERO,)),
    ],
)  # fmt: skip
def test_functions__sent_with_ether__take_none(bench, name, arguments):
    data = bench.slashing.encode_abi(name, arguments)
    with pytest.raises(Exception, match="revert"):
        bench.chain.w3.eth.call({"to": bench.slashing.address, "data": data, "value": 1, "gas": 10**6}, "pending")


def test_interface__no_owner__nobody_has_a_privilege(bench):
    changing = {
        entry["name"]
        for entry in bench.slashing.abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    assert changing == {"reportEquivocation", "settle"}


def honest_statement(kind: int, config, slot: int, content: bytes) -> Statement:
    began = config.slot_start_ms(slot) // 1000
    return Statement(0 if kind == PROPOSAL else began, content, content if kind == OBSERVATION else NOTHING, b"")


@FEW
@given(data=st.data())
def test_report__any_two_messages_of_an_honest_validator__never_convict(bench, ask, reverts, data):
    """One signature a slot and kind: whatever a reporter claims about two of them, some check says no."""
    places = st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.integers(0, 20))
    kind, count, offset = data.draw(places)
    other = data.draw(places.filter(lambda place: place != (kind, count, offset)))
    signed = []
    for which, index, step in ((kind, count, offset), other):
        config = bench.configs[index]
        slot = config.first_slot + step
        made = honest_statement(which, config, slot, data.draw(st.binary(min_size=32, max_size=32)))
        signed.append((which, config.count, slot, bench.sign(which, config, 1, slot, made)))
    claims = st.sampled_from([*signed, (data.draw(st.integers(0, 255)), data.draw(st.integers(0, 3)), 115, None)])
    claimed = data.draw(claims)
    kinds, counts, slots = (data.draw(st.sampled_from([claimed[i], signed[0][i], signed[1][i]])) for i in range(3))
    statements = [signed[data.draw(st.integers(0, 1))][3] for _ in range(2)]
    row = data.draw(st.integers(0, 4))
    proof = Proof(kinds, counts, row, slots, *statements)
    with pytest.raises(Exception, match=r"slashing: [a-z ]+$"):
        ask(bench.slashing, "offenceOf", proof.argument)


@FEW
@given(data=st.data())
def test_report__two_honest_messages_in_their_own_places__need_a_second_signature(bench, ask, data):
    """The strongest claim: the place of the first message, and any bytes as the second statement."""
    kind, index, step = data.draw(st.sampled_from(KINDS)), data.draw(st.integers(0, 1)), data.draw(st.integers(0, 9))
    config = bench.configs[index]
    slot = config.first_slot + step
    first = bench.sign(kind, config, 1, slot, honest_statement(kind, config, slot, b"\3" * 32))
    second = Statement(
        0 if kind == PROPOSAL else data.draw(st.integers(0, 2**64 - 1)), data.draw(st.binary(min_size=32, max_size=32)),
        data.draw(st.binary(min_size=32, max_size=32)) if kind == OBSERVATION else NOTHING,
        data.draw(st.just(first.signature) | st.binary(min_size=0, max_size=64)),
    )  # fmt: skip
    with pytest.raises(Exception, match=r"slashing: [a-z ]+$"):
        ask(bench.slashing, "offenceOf", Proof(kind, config.count, 1, slot, first, second).argument)


def test_slots__of_the_bench__are_as_wide_as_the_tests_think(bench):
    assert bench.slot_now() == 120
    assert bench.configs[1].slot_start_ms(120) - bench.configs[0].slot_start_ms(109) == 11_000 * SLOT_SECONDS


def test_report__what_consensus_accuses_of__convicts_on_chain(bench, ask):
    """From two messages of the wire to the argument of the call, for each kind."""
    config, key = bench.configs[1], bench.keys[bench.configs[1].rows[1].address]
    start = config.slot_start_ms(120) // 1000
    views = [Observation(config.digest, 120, start + late, (None,)) for late in range(2)]
    seen = [SignedObservation(view, 1, key.sign(view.digest(config))) for view in views]
    proposals = [Proposal(config.digest, 120, part) for part in ((seen[0],), (seen[1],))]
    reports = [Report(config.digest, 120, start, bytes([root]) * 32) for root in range(2)]
    pairs = {
        Kind.OBSERVATION: seen,
        Kind.PROPOSAL: [SignedProposal(part, key.sign(part.digest(config))) for part in proposals],
        Kind.REPORT: [Attestation(part, bytes(32), 1, key.sign(part.digest(config))) for part in reports],
    }
    for kind, (first, second) in pairs.items():
        proof = proof_of(config, Evidence(kind, 1, 120, first, second))
        assert ask(bench.slashing, "offenceOf", proof.argument)[:3] == (bench.owner(1), key.checksum_address, start)


@pytest.mark.embedded("anvil cannot be given another chain id while it runs")
def test_report__chain_forked_under_another_id__takes_no_signature_made_before(bench, ask, reverts, monkeypatch):
    """The domain is built from the chain id of the moment."""
    proof = bench.proof(REPORT, 1)
    monkeypatch.setattr(bench.chain.backend.chain, "chain_id", 77)
    with reverts("slashing: bad signature"):
        ask(bench.slashing, "offenceOf", proof.argument)
    signed = [
        bench.sign(REPORT, bench.configs[1], 1, proof.slot, statement, chainId=77)
        for statement in (proof.first, proof.second)
    ]
    ours = replace(proof, first=signed[0], second=signed[1])
    assert ask(bench.slashing, "offenceOf", ours.argument)[0] == bench.owner(1)
