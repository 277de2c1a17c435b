"""What an honest report does: words, rounds, heads, events, no-ops."""

from __future__ import annotations

import pytest
from web3.logs import DISCARD

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.localnet import sample_words
from oracle.consensus.words import FeedWord, pack_word, unpack_word

INVALID = constant_int("FLAG_INVALID")


def event_of(net, receipt):
    (event,) = net.core.aggregator.events.Transmitted().process_receipt(receipt, errors=DISCARD)
    return event["args"]


def test_transmit__whole_report__stores_every_feed(net, ask):
    words = sample_words(net.active.feeds, 10**8)
    draft = net.draft(words, late=3)
    agg = net.core.aggregator
    net.chain.move_to(draft.observed_at + 7)
    blob = net.blob(draft)
    assert ask(agg, "transmit", blob) == 6
    net.transmit(blob)
    for spec in net.active.feeds:
        round_, stored = ask(agg, "latest", spec.number)
        assert round_ == 1
        assert stored >> 48 == words[spec.number] >> 48
        assert (unpack_word(stored).updated_at, unpack_word(stored).delay) == (draft.observed_at + 7, 7)
        assert ask(agg, "head", spec.number) == (False, 1, draft.slot)
        assert ask(agg, "slotOf", spec.number, 1) == draft.slot
        expected = words[spec.number + 1] if spec.is_vector else 0
        assert ask(agg, "vectorWord", spec.number, 1) == expected


def test_transmit__whole_report__logs_one_packed_event(net):
    words = sample_words(net.active.feeds, 5)
    draft = net.draft(words)
    event = event_of(net, net.transmit(net.blob(draft)))
    assert event["slot"] == draft.slot
    assert event["bitmap"] == 0b111
    assert event["words"] == [words[lane] for lane in sorted(words)]


def test_transmit__negative_value__keeps_its_sign(net, ask):
    word = pack_word(FeedWord(9, -(2**127), 1, 10_000, 0))
    net.transmit(net.blob(net.draft({9: word})))
    assert unpack_word(ask(net.core.aggregator, "latest", 9)[1]).value == -(2**127)


def test_transmit__same_report_again__stores_nothing_and_needs_no_signature(net, ask):
    blob = net.blob(net.draft(sample_words(net.active.feeds, 5)))
    net.transmit(blob)
    before = [ask(net.core.aggregator, "head", spec.number) for spec in net.active.feeds]
    unsigned = net.blob(net.draft(sample_words(net.active.feeds, 6)), signers=())
    for late in (blob, unsigned):
        assert ask(net.core.aggregator, "transmit", late) == 0
        assert net.core.aggregator.events.Transmitted().process_receipt(net.transmit(late)) == ()
    assert before == [ask(net.core.aggregator, "head", spec.number) for spec in net.active.feeds]


def test_transmit__older_slot_after_newer__stores_nothing(net, ask):
    older = net.draft(sample_words(net.active.feeds, 5))
    net.chain.move_to(net.chain.now + 60)
    newer = net.draft(sample_words(net.active.feeds, 6))
    assert newer.slot == older.slot + 1
    net.transmit(net.blob(newer))
    assert ask(net.core.aggregator, "transmit", net.blob(older)) == 0
    net.transmit(net.blob(older))
    assert ask(net.core.aggregator, "latest", 0)[0] == 1
    assert ask(net.core.aggregator, "head", 0)[2] == newer.slot


@pytest.mark.parametrize(("age", "stored"), [(0, 6), (150, 6), (151, 0)])
def test_transmit__report_of_some_age__stored_up_to_the_limit(net, ask, age, stored):
    draft = net.draft(sample_words(net.active.feeds, 5))
    net.chain.move_to(draft.observed_at + age)
    assert ask(net.core.aggregator, "transmit", net.blob(draft, signers=range(4) if stored else ())) == stored


def test_transmit__observed_later_than_the_block__reverts(net, reverts, ask):
    draft = net.draft(sample_words(net.active.feeds, 5), late=30)
    net.chain.move_to(draft.observed_at - 1)
    with reverts("aggregator: report from the future"):
        ask(net.core.aggregator, "transmit", net.blob(draft))


def test_transmit__invalid_feed__moves_head_but_makes_no_round(net, ask):
    agg = net.core.aggregator
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 5))))
    net.chain.move_to(net.chain.now + 60)
    words = sample_words(net.active.feeds, 6) | {
        lane: word for lane, word in sample_words(net.active.feeds, 7, INVALID).items() if lane in (0, 2, 3)
    }
    draft = net.draft(words)
    assert ask(agg, "transmit", net.blob(draft)) == 6
    receipt = net.transmit(net.blob(draft))
    event = event_of(net, receipt)
    assert words[0] in event["words"]
    told = agg.events.FeedInvalid().process_receipt(receipt, errors=DISCARD)
    assert [dict(log["args"]) for log in told] == [
        {"number": number, "slot": draft.slot, "word": words[number]} for number in (0, 2)
    ]
    for number in (0, 2):
        assert ask(agg, "head", number) == (True, 1, draft.slot)
        assert unpack_word(ask(agg, "latest", number)[1]).value == 5 + number
        assert ask(agg, "vectorWord", number, 2) == 0
    assert ask(agg, "head", 1) == (False, 2, draft.slot)
    net.chain.move_to(net.chain.now + 60)
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 8))))
    assert tuple(ask(agg, "head", 0)[:2]) == (False, 2)
    assert ask(agg, "vectorWord", 2, 2) != 0


@pytest.mark.parametrize("chosen", range(1, 8))
def test_transmit__some_pages__stores_exactly_these(net, ask, chosen):
    words = sample_words(net.active.feeds, 5)
    draft = net.draft(words)
    event = event_of(net, net.transmit(net.blob(draft, chosen=chosen)))
    assert event["bitmap"] == chosen
    for spec in net.active.feeds:
        pushed = chosen >> net.active.pages.index(spec.page) & 1
        assert ask(net.core.aggregator, "latest", spec.number)[0] == pushed
    rest = 0b111 & ~chosen
    if rest:
        event = event_of(net, net.transmit(net.blob(draft, chosen=0b111)))
        assert event["bitmap"] == rest
    assert all(ask(net.core.aggregator, "head", spec.number) == (False, 1, draft.slot) for spec in net.active.feeds)


def test_transmit__pages_of_two_conflicting_reports__each_page_takes_the_first(net, ask):
    """Two reports of one slot need more than 1/3 of the stake twice; even then no feed gets two rounds of a slot."""
    one, two = (net.draft(sample_words(net.active.feeds, value)) for value in (5, 1_000))
    net.transmit(net.blob(one, chosen=0b001))
    net.transmit(net.blob(two, chosen=0b111))
    agg = net.core.aggregator
    assert unpack_word(ask(agg, "latest", 0)[1]).value == 5
    assert unpack_word(ask(agg, "latest", 9)[1]).value == 1_009
    assert ask(agg, "transmit", net.blob(one)) == 0
    assert all(ask(agg, "latest", spec.number)[0] == 1 for spec in net.active.feeds)


def test_transmit__lane_without_word__keeps_its_head(net, ask):
    words = sample_words(net.active.feeds, 5)
    net.transmit(net.blob(net.draft(words)))
    net.chain.move_to(net.chain.now + 60)
    net.transmit(net.blob(net.draft({0: words[0]})))
    assert ask(net.core.aggregator, "latest", 0)[0] == 2
    assert ask(net.core.aggregator, "latest", 1)[0] == 1
    assert ask(net.core.aggregator, "head", 3) == (False, 0, 0)


def test_ring__round_1025__takes_the_place_of_round_1(net, ask):
    agg, words = net.core.aggregator, sample_words(net.active.feeds, 5)
    net.transmit(net.blob(net.draft(words)))
    first = ask(agg, "roundWord", 0, 1)
    head_slot = artifact("Aggregator").layout["rounds.heads"]
    head = int.from_bytes(net.chain.w3.eth.get_storage_at(agg.address, head_slot))
    net.chain.set_storage(agg.address, {head_slot: head + (1023 << 32)})
    assert (ask(agg, "head", 0)[1], ask(agg, "roundWord", 0, 1)) == (1024, first)
    net.chain.move_to(net.chain.now + 60)
    net.transmit(net.blob(net.draft(words)))
    assert ask(agg, "latest", 0)[0] == 1025
    assert ask(agg, "roundWord", 0, 1) == 0
    assert ask(agg, "roundWord", 0, 1025) not in (0, first)
    assert ask(agg, "slotOf", 0, 1) == 0


def test_latest__feed_number_out_of_range__is_empty(net, ask):
    assert tuple(ask(net.core.aggregator, "latest", 2**200)) == (0, 0)
    assert ask(net.core.aggregator, "roundWord", 0, 0) == 0
