# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Aggregator: the one place where truth enters
@license AGPL-3.0-only
@notice Verifies attested reports, keeps the rounds of every feed, and says how far the newest can be relied on. Nobody
        can set a price but more than 2/3 of the effective stake; the owner and the guardian can only warn.
@dev A report is read straight from calldata: header, signatures, pages, proof. A config lies in contract code and is
     read by one EXTCODECOPY; four feeds share one word of heads; rounds lie in a ring of 1,024 words per feed.
"""

from snekmate.auth import ownable
from snekmate.utils import eip712_domain_separator as domain

from .. import constants
from . import bits
from . import gates
from . import readings
from . import reports
from . import requests
from . import rounds
from ..faces import feed_word
from ..interfaces import IAggregator
from ..interfaces import IConfigurator
from ..interfaces import IStaking

implements: IAggregator
initializes: ownable
initializes: domain
initializes: rounds
initializes: gates[ownable := ownable]
initializes: requests[gates := gates, ownable := ownable]
initializes: reports[domain := domain, gates := gates, rounds := rounds]
initializes: readings[gates := gates, rounds := rounds]

exports: (ownable.owner, ownable.transfer_ownership, domain.eip712Domain)
exports: (rounds.latest, rounds.roundWord, rounds.vectorWord, rounds.head)
exports: (gates.guardian, gates.staleAfter, gates.retiresAt, gates.pausedUntil, gates.pausedAllUntil, gates.sequencer)
exports: (gates.setGuardian, gates.setSequencer, gates.pause, gates.pauseAll, gates.unpause, gates.unpauseAll)
exports: (requests.requestFee, requests.requestedSlot, requests.setRequestFee, requests.collectFees)
exports: (readings.latestChecked, readings.status, readings.latestMany)
exports: (reports.reportDigest, reports.pointers, reports.configurator, reports.adopt, reports.revoke)

# Where the blob of a report starts in calldata where two or three arguments are given: after selector, head and length.
BLOB_OF_2: constant(uint256) = 100
BLOB_OF_3: constant(uint256) = 132

STAKING: immutable(address)


@deploy
def __init__(configurator: address):
    """
    @notice Binds the aggregator to its Configurator and to that one's Staking for ever; the deployer becomes owner.
    @param configurator The contract from which alone configs are taken.
    """
    # CHECKS
    assert configurator != empty(address), "aggregator: no configurator"
    # EFFECTS
    ownable.__init__()
    domain.__init__(constants.DOMAIN_NAME, constants.DOMAIN_VERSION)
    STAKING = staticcall IConfigurator(configurator).staking()
    reports.__init__(configurator, staticcall IStaking(STAKING).evidenceSeconds())


# PERMISSIONLESS


@external
def transmit(report: Bytes[8224]) -> uint256:
    """
    @notice Stores the pages of an attested report that are newer than what is stored. Anyone may call it.
    @dev Header (slot 32 | observedAt 64 | signers 64 | pages 64 | page count 32), then a 64-byte EIP-2098 signature a
         signer, the pages of 128 bytes, the sibling hashes of a level-by-level multiproof; nothing after it.
    @param report The blob.
    @return Number of feeds whose head moved; 0 if the report came late, which is found out before any signature.
    """
    attested: uint256[6] = reports._verify(reports.PUSHED, len(report), reports.PUSH)
    if attested[0] == 0:
        return 0
    return rounds._store(attested)


@external
def update_and_read(report: Bytes[8224], number: uint256, maxAge: uint256) -> IAggregator.Payload:
    """
    @notice Stores a report as `transmit` does, then reads one feed: for a consumer that brings its own update.
    @dev A report that came late changes nothing, and the newest stored round answers, if it is young enough.
    @param report The blob.
    @param number Feed number.
    @param maxAge Greatest age of the observation in seconds that the caller accepts.
    @return The newest valid round; reverts when paused, retired, in sequencer grace, INVALID or too old.
    """
    # CHECKS
    gates._check_open(gates._known(number))
    # EFFECTS, LOG
    attested: uint256[6] = reports._verify(BLOB_OF_3, len(report), reports.PUSH)
    if attested[0] != 0:
        rounds._store(attested)
    # CHECKS: of what is now newest
    round: uint256 = 0
    word: uint256 = 0
    invalid: bool = False
    round, word, invalid = rounds._newest(number)
    assert not invalid, "aggregator: invalid"
    assert word != 0, "aggregator: no round"
    observed_at: uint256 = feed_word._observed_at(word)
    assert block.timestamp - observed_at <= maxAge, "aggregator: report too old"
    slot: uint256 = staticcall reports.CONFIGURATOR.slotAt(observed_at)
    return self._payload(slot, observed_at, word, rounds._vector_of(number, round, word))


@external
@payable
def requestRound(number: uint256) -> uint256:
    """
    @notice Asks the validators to send the present slot's round of a feed, moved or not; at most once a feed and slot.
    @dev Costs `requestFee()`; what is sent above comes back. It changes what is transmitted, never what is reported.
    @param number Feed number.
    @return The slot.
    """
    return requests._request(number, reports.CONFIGURATOR)


# VIEW


@external
@view
def verify(report: Bytes[8224], number: uint256, maxAge: uint256) -> IAggregator.Payload:
    """
    @notice Checks a report and answers one feed of it, without storing anything.
    @dev Of several reports a caller cannot pick the friendliest: none older than what is stored is taken, nor one that
         `transmit` would find too old. An INVALID feed reverts.
    @param report The blob; its pages must hold the feed's.
    @param number Feed number.
    @param maxAge Greatest age of the observation in seconds that the caller accepts.
    @return The feed's payload as signed.
    """
    # CHECKS
    gates._check_open(gates._known(number))
    attested: uint256[6] = reports._verify(BLOB_OF_3, len(report), reports.PULL)
    assert (attested[5] & bits.MASK_16) <= maxAge, "aggregator: report too old"
    assert attested[0] >= rounds._last_slot(number), "aggregator: older than stored"
    return self._payload_of(attested, number)


@external
@view
def verifyHistoric(report: Bytes[8224], number: uint256) -> IAggregator.Payload:
    """
    @notice Checks a report of an old slot and answers one feed of it, for settlements; it is never stored.
    @dev No older than half the evidence window: who can no longer be slashed can sign anything about the past.
         A key that was revoked since counts for nothing. Pauses and the sequencer do not matter here.
    @param report The blob; its pages must hold the feed's.
    @param number Feed number.
    @return The feed's payload as signed; reverts if it is INVALID.
    """
    return self._payload_of(reports._verify(BLOB_OF_2, len(report), reports.PAST), number)


@external
@view
def slotOf(number: uint256, round: uint256) -> uint256:
    """
    @notice The slot of a round.
    @param number Feed number.
    @param round Round of that feed.
    @return The slot, 0 outside the newest 1,024 rounds.
    """
    word: uint256 = rounds._round_word(number, round)
    if word == 0:
        return 0
    return staticcall reports.CONFIGURATOR.slotAt(feed_word._observed_at(word))


@external
@view
def staking() -> address:
    """
    @notice The contract from which alone validator tables are taken.
    @return Its address.
    """
    return STAKING


# INTERNAL


@internal
@view
def _payload_of(attested: uint256[6], number: uint256) -> IAggregator.Payload:
    # The word of a feed in a verified report's pages, and the vector behind it.
    pages: uint256 = attested[1]
    position: uint256 = attested[2]
    lane: uint256 = 32 * (number % constants.LANES)
    for i: uint256 in range(constants.MAX_PAGES):
        if pages >> i == 0:
            break
        if (pages >> i) & 1 == 0:
            continue
        page: uint256 = (attested[3 + i // 16] >> (240 - 16 * (i % 16))) & bits.MASK_16
        if page == number // constants.LANES:
            word: uint256 = extract32(slice(msg.data, position + lane, 32), 0, output_type=uint256)
            assert word != 0 and word >> 240 == number, "aggregator: feed not in the report"
            flags: uint256 = convert(feed_word._flags(word), uint256)
            assert flags & constants.FLAG_INVALID == 0, "aggregator: invalid"
            vector: uint256 = 0
            if flags & constants.FLAG_VECTOR != 0:
                vector = extract32(slice(msg.data, position + lane + 32, 32), 0, output_type=uint256)
            return self._payload(attested[0], block.timestamp - (attested[5] - (block.timestamp << 16)), word, vector)
        position += constants.PAGE_BYTES
    raise "aggregator: feed not in the report"


@internal
@pure
def _payload(slot: uint256, observed_at: uint256, word: uint256, vector: uint256) -> IAggregator.Payload:
    return IAggregator.Payload(
        number=word >> 240,
        slot=slot,
        observedAt=observed_at,
        value=feed_word._answer(word),
        confidence=feed_word._confidence(word),
        turnout=feed_word._turnout(word),
        flags=convert(feed_word._flags(word), uint256),
        vector=vector,
    )
