"""Reports that a consumer brings itself: `verify`, `update_and_read`, `verifyHistoric`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import constant_int
from oracle.chain.deploy import send
from oracle.chain.localnet import sample_words
from oracle.consensus.words import pack_blob, page_words, unpack_word

INVALID = constant_int("FLAG_INVALID")
HISTORY = 7 * 86_400 // 2
"""Half the evidence window: time is left to prove a double signature."""
PULLS = (("verify", (60,)), ("update_and_read", (60,)), ("verifyHistoric", ()))


def pull(net, ask, call, blob, number, *more):
    return ask(net.core.aggregator, call, blob, number, *more)


def blob_of(net, draft, config, signers=range(4), chosen=None):
    pages = (1 << len(draft.pages)) - 1 if chosen is None else chosen
    return pack_blob(draft.slot, draft.observed_at, net.sign(draft, signers, config), draft.pages, pages)


@pytest.mark.parametrize(("call", "more"), PULLS)
def test_pull__every_feed__is_what_was_signed(net, ask, call, more):
    words = sample_words(net.active.feeds, 10**8)
    draft = net.draft(words, late=3)
    net.chain.move_to(draft.observed_at + 9)
    for spec in net.active.feeds:
        place = net.active.pages.index(spec.page)
        for chosen in (7, 1 << place):
            found = pull(net, ask, call, net.blob(draft, chosen=chosen), spec.number, *more)
            word = unpack_word(words[spec.number])
            vector = words[spec.number + 1] if spec.is_vector else 0
            said = (word.value, word.confidence, word.turnout, word.flags, vector)
            assert found == (spec.number, draft.slot, draft.observed_at, *said)


def test_verify__any_report__stores_nothing(net, ask):
    blob = net.blob(net.draft(sample_words(net.active.feeds, 5)))
    for call, more in (PULLS[0], PULLS[2]):
        name = getattr(net.core.aggregator.functions, call)(blob, 0, *more)
        send(net.chain.w3, name, net.core.owner)
    assert tuple(ask(net.core.aggregator, "latest", 0)) == (0, 0)


def test_update_and_read__news__is_stored_for_everyone(net, ask):
    draft = net.draft(sample_words(net.active.feeds, 5))
    send(net.chain.w3, net.core.aggregator.functions.update_and_read(net.blob(draft), 0, 60), net.chain.accounts[8])
    assert [ask(net.core.aggregator, "latest", spec.number)[0] for spec in net.active.feeds] == [1] * 6


def test_update_and_read__report_came_late__newest_stored_round_answers(net, ask):
    older = net.draft(sample_words(net.active.feeds, 5))
    net.chain.move_to(net.chain.now + 60)
    newer = net.draft(sample_words(net.active.feeds, 6))
    net.transmit(net.blob(newer))
    assert pull(net, ask, "update_and_read", net.blob(older, signers=()), 2, 60)[1:4] == (
        newer.slot, newer.observed_at, 8,
    )  # fmt: skip
    assert pull(net, ask, "update_and_read", net.blob(newer), 2, 60)[3] == 8


def test_update_and_read__newest_too_old_for_the_caller__reverts(net, ask, reverts):
    draft = net.draft(sample_words(net.active.feeds, 5))
    net.transmit(net.blob(draft))
    net.chain.move_to(draft.observed_at + 61)
    with reverts("aggregator: report too old"):
        pull(net, ask, "update_and_read", net.blob(draft), 0, 60)
    assert pull(net, ask, "update_and_read", net.blob(draft), 0, 61)[3] == 5


def test_update_and_read__another_page_or_never_a_round__reverts(net, ask, reverts):
    blob = net.blob(net.draft(sample_words(net.active.feeds, 5)), chosen=1)
    with reverts("aggregator: no round"):
        pull(net, ask, "update_and_read", blob, 9, 60)
    assert pull(net, ask, "update_and_read", blob, 0, 60)[3] == 5


@pytest.mark.parametrize(("call", "more"), PULLS)
def test_pull__invalid_feed__reverts_and_its_neighbour_answers(net, ask, reverts, call, more):
    words = sample_words(net.active.feeds, 5) | {0: sample_words(net.active.feeds, 5, INVALID)[0]}
    blob = net.blob(net.draft(words))
    with reverts("aggregator: invalid"):
        pull(net, ask, call, blob, 0, *more)
    assert pull(net, ask, call, blob, 1, *more)[3] == 6


@pytest.mark.parametrize(("call", "more"), [PULLS[0], PULLS[2]])
def test_pull__feed_not_in_the_pages__reverts(net, ask, reverts, call, more):
    draft = net.draft(sample_words(net.active.feeds, 5))
    for chosen, number in ((1, 9), (4, 0), (4, 8 + 2)):
        if call == "verify" and number == 10:
            continue
        with reverts("aggregator: feed not in the report"):
            pull(net, ask, call, net.blob(draft, chosen=chosen), number, *more)
    with reverts("aggregator: feed not in the report"):
        pull(net, ask, "verifyHistoric", net.blob(draft), 2**255)


def test_pull__unknown_feed__reverts(net, ask, reverts):
    blob = net.blob(net.draft(sample_words(net.active.feeds, 5)))
    for call in ("verify", "update_and_read"):
        for number in (3, 77, 2**200):
            with reverts("aggregator: unknown feed"):
                pull(net, ask, call, blob, number, 60)


def test_verify__older_than_the_caller_or_the_chain_allows__reverts(net, ask, reverts):
    draft = net.draft(sample_words(net.active.feeds, 5))
    blob, limit = net.blob(draft), net.active.max_report_age
    net.chain.move_to(draft.observed_at + 61)
    with reverts("aggregator: report too old"):
        pull(net, ask, "verify", blob, 0, 60)
    net.chain.move_to(draft.observed_at + limit)
    assert pull(net, ask, "verify", blob, 0, 10**9)[3] == 5
    net.chain.move_to(draft.observed_at + limit + 1)
    with reverts("aggregator: report too old"):
        pull(net, ask, "verify", blob, 0, 10**9)


def test_verify__older_than_stored__reverts(net, ask, reverts):
    """A caller with several reports in hand cannot pick the friendliest: the chain's own head is the floor."""
    older = net.draft(sample_words(net.active.feeds, 5))
    net.chain.move_to(net.chain.now + 60)
    newer = net.draft(sample_words(net.active.feeds, 6))
    assert pull(net, ask, "verify", net.blob(older), 0, 100)[3] == 5
    net.transmit(net.blob(newer, chosen=1))
    with reverts("aggregator: older than stored"):
        pull(net, ask, "verify", net.blob(older), 0, 100)
    assert pull(net, ask, "verify", net.blob(older), 9, 100)[3] == 14, "its page was not pushed"
    assert pull(net, ask, "verify", net.blob(newer), 0, 100)[3] == 6


@pytest.mark.parametrize(("call", "more"), PULLS)
def test_pull__forged__reverts_as_a_push_does(net, ask, reverts, call, more):
    draft, config = net.draft(sample_words(net.active.feeds, 5)), net.active
    signatures = net.sign(draft, range(4))
    (row, one), *others = signatures
    high = (2**255 - 1).to_bytes(32)
    foreign = replace(config, chain_id=config.chain_id + 1)

    def packed(*given):
        return pack_blob(draft.slot, draft.observed_at, list(given), draft.pages, 7)

    for reason, blob in (
        ("aggregator: no quorum", blob_of(net, draft, config, range(2))),
        ("aggregator: no quorum", blob_of(net, draft, config, ())),
        ("aggregator: bad signature", blob_of(net, draft, foreign)),
        ("aggregator: bad signature", packed((1, one), *others[1:])),
        ("aggregator: bad signature", packed((0, bytes(64)), *others)),
        ("aggregator: high s", packed((row, one[:32] + high), *others)),
        ("aggregator: bad length", net.blob(draft, chosen=1) + bytes(32)),
        ("aggregator: bad length", net.blob(draft, chosen=1)[:-32]),
        ("aggregator: slot and time disagree", net.blob(replace(draft, slot=draft.slot + 1))),
        ("aggregator: report from the future", net.blob(replace(draft, observed_at=net.chain.now + 1))),
        ("aggregator: wrong page count", pack_blob(draft.slot, draft.observed_at, signatures, draft.pages[:2], 3)),
    ):
        with reverts(reason):
            pull(net, ask, call, blob, 0, *more)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), chosen=st.integers(1, 7), pick=st.integers(0, 2))
def test_pull__any_changed_bit__never_answers(net, at, bit, chosen, pick):
    call, more = PULLS[pick]
    blob = bytearray(net.blob(net.draft(sample_words(net.active.feeds, 5)), chosen=chosen))
    blob[at % len(blob)] ^= 1 << bit
    number = net.active.pages[chosen.bit_length() - 1] * 4
    function = getattr(net.core.aggregator.functions, call)(bytes(blob), number, *more)
    with pytest.raises(Exception, match=r"aggregator: |execution reverted|b''"):
        function.call({}, "pending")


@pytest.mark.parametrize(("call", "more"), PULLS)
def test_pull__calldata_longer_or_cut__answers_or_reverts(net, call, more):
    """Vyper callers send calldata up to the bound of the type: what lies behind the blob is never looked at."""
    blob = net.blob(net.draft(sample_words(net.active.feeds, 5)))
    function = getattr(net.core.aggregator.functions, call)(blob, 0, *more)
    data = bytes.fromhex(function._encode_transaction_data()[2:])
    eth, to = net.chain.w3.eth, net.core.aggregator.address
    answer = eth.call({"to": to, "data": data}, "pending")
    for longer in (data + bytes(1), data + b"\xff" * 3200):
        assert eth.call({"to": to, "data": longer}, "pending") == answer
    for cut in (data[:-1], data[:-32], data[:200]):
        with pytest.raises(Exception, match=r"aggregator: bad length|execution reverted|b''"):
            eth.call({"to": to, "data": cut}, "pending")


# The past


def aged(net, rolls):
    """Drafts of this config, then `rolls` more configs."""
    old = net.active
    drafts = [net.draft(sample_words(old.feeds, 5)), net.draft(sample_words(old.feeds, 6), late=1)]
    for _ in range(rolls):
        net.chain.move_to(net.chain.now + 600)
        net.roll()
    return old, drafts


def test_verify_historic__config_long_gone__answers(net, ask):
    old, drafts = aged(net, 4)
    for draft, value in zip(drafts, (5, 6), strict=True):
        found = pull(net, ask, "verifyHistoric", blob_of(net, draft, old), 0)
        assert found[1:4] == (draft.slot, draft.observed_at, value)
    assert net.active.count == 5 and tuple(ask(net.core.aggregator, "latest", 0)) == (0, 0)


def test_verify_historic__past_half_the_evidence_window__reverts(net, ask, reverts):
    """Who has left and can no longer be slashed could sign anything about the past."""
    old, (draft, _) = aged(net, 3)
    blob = blob_of(net, draft, old)
    net.chain.move_to(draft.observed_at + HISTORY)
    assert pull(net, ask, "verifyHistoric", blob, 0)[3] == 5
    net.chain.move_to(draft.observed_at + HISTORY + 1)
    with reverts("aggregator: report too old"):
        pull(net, ask, "verifyHistoric", blob, 0)


def test_verify_historic__key_revoked_since__counts_for_nothing(net, ask, reverts):
    """Also in configs so old that no mask is kept for them."""
    old, (draft, _) = aged(net, 3)
    owner = ask(net.core.staking, "ownerOf", net.keys[old.rows[3].address].checksum_address)
    send(net.chain.w3, net.core.staking.functions.revokeKey(), owner)
    with reverts("aggregator: revoked signer"):
        pull(net, ask, "verifyHistoric", blob_of(net, draft, old), 0)
    assert pull(net, ask, "verifyHistoric", blob_of(net, draft, old, range(3)), 0)[3] == 5


def test_verify_historic__signed_under_another_config_than_the_slots__reverts(net, ask, reverts):
    old, (draft, _) = aged(net, 3)
    with reverts("aggregator: bad signature"):
        pull(net, ask, "verifyHistoric", blob_of(net, draft, net.active), 0)
    before = replace(draft, slot=0, observed_at=old.anchor_time - 60 * old.anchor_slot)
    with reverts("aggregator: no config for the slot"):
        pull(net, ask, "verifyHistoric", blob_of(net, before, old), 0)


def test_verify__config_long_gone__is_too_old(net, ask, reverts):
    old, (draft, _) = aged(net, 3)
    with reverts("aggregator: report too old"):
        pull(net, ask, "verify", blob_of(net, draft, old), 0, 10**9)


def test_pull__page_of_a_report_with_a_false_word__reverts(net, ask, reverts):
    """A quorum that signs a page with a feed's word in another's lane is not read as that feed."""
    draft = net.draft(sample_words(net.active.feeds, 5))
    words = page_words(draft.pages[0])
    swapped = b"".join(word.to_bytes(32) for word in (words[1], words[0], *words[2:]))
    wrong = replace(draft, pages=(swapped, *draft.pages[1:]))
    for call, more in (PULLS[0], PULLS[2]):
        with reverts("aggregator: feed not in the report"):
            pull(net, ask, call, net.blob(wrong), 0, *more)
