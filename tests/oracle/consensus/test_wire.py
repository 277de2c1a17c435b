from dataclasses import replace

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from oracle.consensus.messages import (
    Attestation,
    FeedObservation,
    Observation,
    Proposal,
    ProposalRequest,
    Report,
    SignedObservation,
    SignedProposal,
    pack_int,
    pack_values,
)
from oracle.consensus.simulate_world import small_config
from oracle.consensus.wire import config_digest_of, decode, encode, max_bytes
from oracle.errors import (
    DuplicateObservation,
    FieldOutOfRange,
    MalformedMessage,
    MessageTooLong,
    PeerFault,
    Unencodable,
    UnknownSigner,
    WrongDigest,
)
from tests.strategies.consensus import CONFIG, SLOT, int128s, messages, observations, proposals

NOTHING = (None,) * len(CONFIG.feeds)
PRICE = FeedObservation(0, 5, 1)


def encode_one(observation):
    return encode(SignedObservation(observation, 0, bytes(64)), CONFIG)


@given(messages())
def test_encoding__any_message__comes_back_the_same(message):
    data = encode(message, CONFIG)
    assert decode(data, CONFIG) == message
    assert encode(decode(data, CONFIG), CONFIG) == data
    assert len(data) <= max_bytes(CONFIG, data[0]) <= max_bytes(CONFIG)
    assert config_digest_of(data) == CONFIG.digest


@given(st.binary(max_size=300), st.sampled_from([0x11, 0x12, 0x13, 0x14]), st.integers(0, 2))
def test_decoding__any_bytes__gives_a_message_or_a_peer_fault(data, tag, framed):
    data = [data, bytes([tag]) + data, bytes([tag]) + CONFIG.digest + data][framed]
    try:
        message = decode(data, CONFIG)
    except PeerFault:
        return
    assert encode(message, CONFIG) == data


@given(messages(), st.data())
def test_decoding__a_message_bent_in_one_place__is_canonical_or_a_peer_fault(message, data):
    good = encode(message, CONFIG)
    place, kind = (
        data.draw(st.integers(0, len(good) - 1)),
        data.draw(st.sampled_from(["flip", "cut", "grow", "insert"])),
    )
    bent = {
        "flip": good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :],
        "cut": good[:place],
        "grow": good + data.draw(st.binary(min_size=1, max_size=9)),
        "insert": good[:place] + data.draw(st.binary(min_size=1, max_size=3)) + good[place:],
    }[kind]
    try:
        found = decode(bent, CONFIG)
    except PeerFault:
        return
    assert encode(found, CONFIG) == bent
    assert found != message


def test_decoding__ten_megabytes__is_refused_by_length():
    for tag in (0, 0x11, 0x12, 0x13, 0x14, 0xFF):
        with pytest.raises(MessageTooLong):
            decode(bytes([tag]) + bytes(10_000_000), CONFIG)


def test_max_bytes__largest_network__stays_below_two_megabytes():
    config = small_config([10] * 64, feeds=35)
    assert max_bytes(config) < 2_000_000


def test_decoding__other_chain__raises_wrong_digest():
    other = replace(CONFIG, chain_id=1)
    with pytest.raises(WrongDigest) as caught:
        decode(encode(ProposalRequest(other.digest, SLOT, bytes(32), 0), other), CONFIG)
    assert caught.value.limit == CONFIG.digest.hex()


def test_decoding__row_outside_the_table__raises_unknown_signer():
    good = encode(ProposalRequest(CONFIG.digest, SLOT, bytes(32), 3), CONFIG)
    with pytest.raises(UnknownSigner):
        decode(good[:-1] + b"\x04", CONFIG)


@given(proposals())
def test_decoding__observation_twice__raises_duplicate(signed):
    items = signed.proposal.observations
    if items:
        doubled = SignedProposal(Proposal(CONFIG.digest, SLOT, (items[0], *items[:1], *items[1:-1])), signed.signature)
        with pytest.raises((DuplicateObservation, MessageTooLong)):
            decode(encode(doubled, CONFIG), CONFIG)


BENT = [
    replace(PRICE, value=2**127), replace(PRICE, confidence=-1), replace(PRICE, confidence=2**127),
    replace(PRICE, previous=(-(2**127) - 1, None)), replace(PRICE, sources=-1), replace(PRICE, sources=2**64),
    replace(PRICE, family_share=10_001), replace(PRICE, outside_run=-128), replace(PRICE, components=(1,)),
    replace(PRICE, resolved=True),
]  # fmt: skip


@pytest.mark.parametrize("seen", BENT, ids=str)
def test_encoding__value_that_peers_refuse__raises_and_its_bytes_are_refused(seen):
    observation = Observation(CONFIG.digest, SLOT, 1, (seen, *NOTHING[1:]))
    with pytest.raises(Unencodable):
        encode_one(observation)
    body = (1).to_bytes(8, "big") + bytes(32) + b"\0" + bytes(64) + pack_values(observation.values)
    with pytest.raises((FieldOutOfRange, MalformedMessage)):
        decode(b"\x11" + CONFIG.digest + SLOT.to_bytes(4, "big") + body, CONFIG)


def test_encoding__vector_that_contradicts_its_value__raises():
    forecast = FeedObservation(4, 1, 0, components=(0,) * 9)
    event = FeedObservation(8, 1, 0, components=(6_000, 4_000))
    short = FeedObservation(8, 0, 0, components=(6_000, 3_000))
    for place, seen in ((2, forecast), (3, event), (3, short)):
        values = (*NOTHING[:place], seen, *NOTHING[place + 1 :])
        with pytest.raises(Unencodable):
            encode_one(Observation(CONFIG.digest, SLOT, 1, values))


def test_encoding__too_few_or_misplaced_values__raises():
    for values in ((PRICE,), (None, PRICE, None, None)):
        with pytest.raises(Unencodable):
            encode_one(Observation(CONFIG.digest, SLOT, 1, values))


def test_observation__number_beyond_its_field__raises_unencodable():
    with pytest.raises(Unencodable):
        Observation(CONFIG.digest, SLOT, 1, (replace(PRICE, family_share=70_000),))


def test_decoding__long_form_of_an_integer__raises():
    assert pack_int(0) == b"\x01\x00" and pack_int(128) == b"\x02\x00\x80"
    observation = Observation(CONFIG.digest, SLOT, 1, (PRICE, *NOTHING[1:]))
    data = encode_one(observation)
    longer = data.replace(pack_int(5) + pack_int(1), b"\x02\x00\x05" + pack_int(1))
    assert longer != data
    with pytest.raises(MalformedMessage):
        decode(longer, CONFIG)


def typed(primary, fields, message):
    types = {
        "EIP712Domain": [
            {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"},
        ],
        primary: [{"name": name, "type": kind} for name, kind in fields.items()],
    }  # fmt: skip
    domain = {"name": "Dodona", "version": "1", "chainId": CONFIG.chain_id}
    domain["verifyingContract"] = "0x" + CONFIG.aggregator.hex()
    full = {"types": types, "primaryType": primary, "domain": domain, "message": message}
    signable = encode_typed_data(full_message=full)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


@given(observations())
def test_observation_digest__eth_account__says_the_same(observation):
    fields = {"configDigest": "bytes32", "slot": "uint32", "observedAt": "uint64", "valuesHash": "bytes32"}
    message = {"configDigest": CONFIG.digest, "slot": SLOT, "observedAt": observation.observed_at}
    message |= {"valuesHash": keccak(pack_values(observation.values)), "commitment": observation.commitment}
    assert observation.digest(CONFIG) == typed("Observation", fields | {"commitment": "bytes32"}, message)


@given(proposals())
def test_proposal_digest__eth_account__says_the_same(signed):
    items = signed.proposal.observations
    rows = b"".join(bytes([item.signer]) + item.observation.struct_hash + item.signature for item in items)
    fields = {"configDigest": "bytes32", "slot": "uint32", "observationsHash": "bytes32"}
    message = {"configDigest": CONFIG.digest, "slot": SLOT, "observationsHash": keccak(rows)}
    assert signed.proposal.digest(CONFIG) == typed("Proposal", fields, message)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_report_digest__eth_account__says_the_same(slot, observed_at, root):
    report = Report(CONFIG.digest, slot, observed_at, root)
    fields = {"configDigest": "bytes32", "slot": "uint32", "observedAt": "uint64", "root": "bytes32"}
    message = {"configDigest": CONFIG.digest, "slot": slot, "observedAt": observed_at, "root": root}
    assert report.digest(CONFIG) == typed("Report", fields, message)
    assert Attestation(report, bytes(32), 0, bytes(64)).slot == slot


@given(int128s)
def test_pack_int__any_int128__is_shortest_form(value):
    data = pack_int(value)
    assert int.from_bytes(data[1:], "big", signed=True) == value
    size = data[0]
    assert size == 1 or not -(1 << 8 * (size - 1) - 1) <= value < 1 << 8 * (size - 1) - 1
