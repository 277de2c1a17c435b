"""What the Aggregator must refuse, one attack a test (design page 6)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_tester.exceptions import TransactionFailed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.chain.localnet import LocalNet, price_spec, sample_words
from oracle.consensus.words import HASH_BYTES, HEADER_BYTES, pack_blob
from oracle.keys import SECP256K1_ORDER, HotKey

HEADER_FIELDS = {"slot": (0, 4), "observed_at": (4, 12), "signers": (12, 20), "pages": (20, 28), "count": (28, 32)}


@pytest.fixture
def draft(net):
    return net.draft(sample_words(net.active.feeds, 10**8))


@pytest.fixture
def send(net, ask):
    """Calldata that need not be well-formed, straight to the contract; returns what transmit returns."""

    def call(blob: bytes, *, offset: int = 32, length: int | None = None, padding: bytes = b"") -> int:
        data = net.core.aggregator.encode_abi("transmit", [b""])[:10]
        words = offset.to_bytes(32) + (len(blob) if length is None else length).to_bytes(32)
        tail = bytes(-len(blob) % 32)
        raw = data + (words + blob + tail + padding).hex()
        call = {"to": net.core.aggregator.address, "data": raw, "from": net.core.owner}
        return int.from_bytes(net.chain.w3.eth.call(call, "pending"))

    return call


def with_field(blob: bytes, name: str, value: int) -> bytes:
    start, end = HEADER_FIELDS[name]
    return blob[:start] + value.to_bytes(end - start) + blob[end:]


def with_signatures(net, draft, signatures) -> bytes:
    return pack_blob(draft.slot, draft.observed_at, signatures, draft.pages, (1 << len(draft.pages)) - 1)


def test_transmit__two_thirds_exactly__reverts(net, reverts, ask):
    """Rows of 1/3 each: two of three are 2/3, and more than 2/3 is asked for."""
    even = LocalNet.start([5, 5, 5], [price_spec(0)], chain=net.chain)
    draft = even.draft(sample_words(even.active.feeds, 7))
    with reverts("aggregator: no quorum"):
        ask(even.core.aggregator, "transmit", even.blob(draft, signers=[0, 1]))
    assert ask(even.core.aggregator, "transmit", even.blob(draft, signers=[0, 1, 2])) == 1


@pytest.mark.parametrize("signers", [(), (0,), (1, 2), (0, 1), (0, 2), (0, 3)])
def test_transmit__stake_up_to_two_thirds__reverts(net, draft, reverts, send, signers):
    with reverts("aggregator: no quorum"):
        send(net.blob(draft, signers=signers))


def test_transmit__bitmap_claims_a_signer_that_did_not_sign__reverts(net, draft, reverts, send):
    blob = net.blob(draft, signers=[0, 1, 2])
    with reverts("aggregator: bad signature"):
        send(with_field(blob, "signers", 0b1011))
    with reverts("aggregator: bad signature"):
        send(with_field(blob, "signers", 0b1110))


def test_transmit__bitmap_beyond_the_table__reverts(net, draft, reverts, send):
    signatures = [*net.sign(draft, [0, 1, 2]), (4, HotKey((77).to_bytes(32)).sign(bytes(32)))]
    with reverts("aggregator: bad signature"):
        send(with_signatures(net, draft, signatures))


def test_transmit__one_signature_for_two_rows__reverts(net, draft, reverts, send):
    (first,) = net.sign(draft, [0])
    with reverts("aggregator: bad signature"):
        send(with_signatures(net, draft, [first, (1, first[1]), (2, first[1])]))


def test_transmit__signature_too_many_or_too_few__reverts(net, draft, reverts, send):
    blob = net.blob(draft, signers=[0, 1, 2])
    one, end = HEADER_BYTES + 64, HEADER_BYTES + 3 * 64
    with reverts("aggregator: bad length"):
        send(blob[:end] + blob[HEADER_BYTES:one] + blob[end:])
    with reverts("aggregator: bad signature"):
        send(blob[:HEADER_BYTES] + blob[one:])


@pytest.mark.parametrize("s", [SECP256K1_ORDER // 2 + 1, 2**255 - 1])
def test_transmit__high_s__reverts(net, draft, reverts, send, s):
    """EIP-2098 leaves 255 bits for s, so these are all the high ones there are."""
    signatures = dict(net.sign(draft, [0, 1, 2]))
    signatures[1] = signatures[1][:32] + s.to_bytes(32)
    with reverts("aggregator: high s"):
        send(with_signatures(net, draft, signatures.items()))


def test_transmit__twin_of_a_signature__reverts(net, draft, reverts, send):
    """(r, n - s, other parity) recovers the same key where high s is let in; cut to 255 bits it recovers another."""
    signatures = dict(net.sign(draft, [0, 1, 2]))
    vs = int.from_bytes(signatures[1][32:])
    twin = (SECP256K1_ORDER - vs % 2**255) % 2**255 | (vs >> 255 ^ 1) << 255
    signatures[1] = signatures[1][:32] + twin.to_bytes(32)
    with reverts("aggregator: bad signature"):
        send(with_signatures(net, draft, signatures.items()))


@pytest.mark.parametrize("forged", [bytes(64), bytes(31) + b"\1" + bytes(32), b"\xff" * 32 + bytes(31) + b"\1"])
@pytest.mark.parametrize("row", [0, 5])
def test_transmit__signature_that_recovers_nobody__reverts(net, draft, reverts, send, forged, row):
    """ecrecover answers zero: neither a real row nor an empty one of the table may match that."""
    signatures = dict(net.sign(draft, [0, 1, 2])) | {row: forged}
    with reverts("aggregator: bad signature"):
        send(with_signatures(net, draft, signatures.items()))


@pytest.mark.parametrize("field", ["slot", "observed_at", "root"])
def test_transmit__signed_for_another_report__reverts(net, draft, reverts, send, field):
    words = sample_words(net.active.feeds, 10**8)
    other = {
        "slot": replace(draft, slot=draft.slot + 1),
        "observed_at": replace(draft, observed_at=draft.observed_at + 1),
        "root": net.draft(words | {0: words[0] + (1 << 112)}),
    }[field]
    with reverts("aggregator: bad signature"):
        send(with_signatures(net, draft, net.sign(other, [0, 1, 2])))


@pytest.mark.parametrize(
    ("field", "value"), [("chain_id", 1), ("aggregator", b"\7" * 20), ("count", 2), ("randomness", b"\1" * 32)]
)
def test_transmit__signed_for_another_chain_contract_or_config__reverts(net, draft, reverts, send, field, value):
    other = replace(net.active, **{field: value})
    with reverts("aggregator: bad signature"):
        send(with_signatures(net, draft, net.sign(draft, [0, 1, 2], other)))


def test_transmit__report_of_a_twin_network__reverts(net, send, ask):
    """The same validators, stakes, feeds and slot on another Aggregator of the same chain."""
    twin = LocalNet.start([40, 30, 20, 10], net.active.feeds, chain=net.chain)
    theirs = twin.draft(sample_words(twin.active.feeds, 10**8))
    blob = twin.blob(theirs)
    with pytest.raises(TransactionFailed, match="aggregator: "):
        send(blob)
    assert ask(twin.core.aggregator, "transmit", blob) == 6


def test_transmit__slot_and_time_disagree__reverts(net, draft, reverts, send):
    for slot, second in ((draft.slot + 1, draft.observed_at), (draft.slot, draft.observed_at - 1)):
        with reverts("aggregator: slot and time disagree"):
            send(net.blob(replace(draft, slot=slot, observed_at=second)))


def test_transmit__far_future_slot__reverts_and_bricks_nothing(net, draft, reverts, send):
    for slot in (2**32 - 1, draft.slot + 10_000):
        with reverts("aggregator: slot and time disagree"):
            send(net.blob(replace(draft, slot=slot)))
        late = net.active.slot_start_ms(slot) // 1000
        with reverts("aggregator: report from the future"):
            send(net.blob(replace(draft, slot=slot, observed_at=late)))
    assert send(net.blob(draft)) == 6


def test_transmit__time_before_the_config__reverts(net, draft, reverts, send):
    early = replace(draft, observed_at=net.active.anchor_time - 1)
    with reverts("aggregator: slot and time disagree"):
        send(net.blob(early))


def test_transmit__slot_before_the_first_config__reverts(net, draft, reverts, send):
    with reverts("aggregator: no config for the slot"):
        send(net.blob(replace(draft, slot=net.active.first_slot - 1)))


def test_transmit__wrong_page_count__reverts(net, draft, reverts, send):
    for count in (0, 1, 2, 4, 2**32 - 1):
        with reverts("aggregator: wrong page count"):
            send(with_field(net.blob(draft), "count", count))


@pytest.mark.parametrize("pages", [0, 0b1000, 0b1111, 1 << 63])
def test_transmit__pages_that_are_none__reverts(net, draft, reverts, send, pages):
    with reverts("aggregator: bad pages"):
        send(with_field(net.blob(draft), "pages", pages))


def test_transmit__page_altered__reverts(net, draft, reverts, send):
    blob = bytearray(net.blob(draft))
    blob[-1] ^= 1
    with reverts("aggregator: bad signature"):
        send(bytes(blob))


def test_transmit__proof_altered_or_reordered__reverts(net, draft, reverts, send):
    blob = net.blob(draft, chosen=0b001)
    with reverts("aggregator: bad signature"):
        send(blob[:-1] + bytes([blob[-1] ^ 1]))
    with reverts("aggregator: bad signature"):
        send(blob[:-64] + blob[-32:] + blob[-64:-32])


@pytest.mark.parametrize("chosen", [0b111, 0b011, 0b100])
@pytest.mark.parametrize("change", ["longer", "padded", "shorter", "byte longer"])
def test_transmit__length_not_exact__reverts(net, draft, reverts, send, chosen, change):
    blob = net.blob(draft, chosen=chosen)
    if change == "shorter":
        with pytest.raises(TransactionFailed):
            send(blob[:-HASH_BYTES])
    elif change == "byte longer":
        with pytest.raises(TransactionFailed):
            send(blob + b"\0")
    elif change == "longer" and chosen != 0b111:
        with reverts("aggregator: bad length"):
            send(blob + bytes(32))
    else:
        with reverts("aggregator: bad length"):
            send(blob, padding=bytes(32))


def test_transmit__pushed_page_left_out__reverts(net, draft, reverts, send):
    blob = net.blob(draft, chosen=0b001)
    with reverts("aggregator: bad length"):
        send(blob[: HEADER_BYTES + 3 * 64 + 96])
    with reverts("aggregator: bad length"):
        send(blob[:-HASH_BYTES])


@pytest.mark.parametrize("offset", [0, 31, 33, 64, 2**255])
def test_transmit__non_canonical_abi_offset__reverts(net, draft, send, offset):
    with pytest.raises(TransactionFailed):
        send(net.blob(draft), offset=offset)


@pytest.mark.parametrize("length", [0, 32, 2**64, 2**256 - 1])
def test_transmit__false_abi_length__reverts(net, draft, send, length):
    with pytest.raises(TransactionFailed):
        send(net.blob(draft), length=length)


@pytest.mark.parametrize("lane", [0, 3])
def test_transmit__word_of_another_feed_in_the_lane__reverts(net, reverts, send, lane):
    """Even a quorum cannot write one feed's word into another's history."""
    words = sample_words(net.active.feeds, 10**8)
    foreign = (words[lane] & (2**240 - 1)) | (9 << 240)
    with reverts("aggregator: word in a wrong lane"):
        send(net.blob(net.draft(words | {lane: foreign})))


def test_transmit__reserved_bits_signed__cannot_fake_the_time(net, ask):
    words = sample_words(net.active.feeds, 10**8)
    draft = net.draft(words | {0: words[0] | (2**48 - 1)})
    net.transmit(net.blob(draft))
    stored = ask(net.core.aggregator, "latest", 0)[1]
    assert stored >> 16 & (2**32 - 1) == net.chain.w3.eth.get_block("latest")["timestamp"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_transmit__any_changed_byte__never_stores(net, draft, send, data):
    blob = net.blob(draft, chosen=data.draw(st.sampled_from([0b111, 0b101, 0b010])))
    place = data.draw(st.integers(0, len(blob) - 1))
    changed = bytearray(blob)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        assert send(bytes(changed)) == 0
    except TransactionFailed:
        return


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blob=st.binary(max_size=400))
def test_transmit__random_bytes__never_stores(net, send, blob):
    try:
        assert send(blob) == 0
    except TransactionFailed:
        return
