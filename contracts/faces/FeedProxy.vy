# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title FeedProxy: one address for ever, whatever face stands behind it
@license AGPL-3.0-only
@notice What reads Chainlink's EACAggregatorProxy reads this: V2 and V3 of the present face, and every older face's
        rounds under the ids that they had. The owner may move it to another face of the same series, 48 h after saying
        so.
@dev Only faces of the same factory, hence the same Aggregator: the owner can choose how strictly a series is told and
     which listing of it, never another series and never a value.
"""

from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from ..interfaces import IAggregatorV2V3
from ..interfaces import IFeed
from ..interfaces import IFeedFactory
from ..interfaces import IFeedProxy

implements: IAggregatorV2V3
implements: IFeedProxy
initializes: ownable
initializes: ownable_2step[ownable := ownable]

exports: (ownable_2step.owner, ownable_2step.pending_owner)
exports: (ownable_2step.transfer_ownership, ownable_2step.accept_ownership)


# A face as it lies in memory: whole words, which cost nothing to check. Its two round ids are always the same.
interface Words:
    def latestRoundData() -> (uint256, int256, uint256, uint256, uint256): view


# Time between proposal and confirmation, in seconds.
NOTICE: constant(uint256) = 172800
# A round id is phase << PHASE | round of the face.
PHASE: constant(uint256) = 64
ROUND_MASK: constant(uint256) = 2**64 - 1

FACTORY: immutable(IFeedFactory)
IDENTITY: immutable(bytes32)
DECIMALS: immutable(uint8)

# Phase 16 | address of its face 160: one word, so that a read needs one slot.
current: uint256
faces: HashMap[uint256, address]
proposedAggregator: public(address)
confirmableAt: public(uint256)


@deploy
def __init__(factory: address, face: address, owner: address):
    """
    @notice Starts phase 1.
    @param factory Whose faces this proxy may stand for.
    @param face The first face; it fixes the series and its decimals for ever.
    @param owner Who may move it to another face: a timelock.
    """
    # CHECKS
    assert owner != empty(address), "proxy: no owner"
    assert staticcall IFeedFactory(factory).isFace(face), "proxy: not a face of the factory"
    # EFFECTS
    FACTORY = IFeedFactory(factory)
    IDENTITY = staticcall IFeed(face).identity()
    DECIMALS = staticcall IFeed(face).decimals()
    ownable.__init__()
    ownable_2step.__init__()
    ownable._transfer_ownership(owner)
    self._begin(1, face)


# VIEW: V3 and V2


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The newest round of the present face, or its reason why not.
    @return roundId with the phase, answer, time of observation, time of storing, roundId with the phase.
    """
    current: uint256 = self.current
    round: uint256 = 0
    answer: int256 = 0
    started: uint256 = 0
    updated: uint256 = 0
    answered: uint256 = 0
    round, answer, started, updated, answered = staticcall Words(self._face(current)).latestRoundData()
    id: uint80 = convert(((current >> 160) << PHASE) | round, uint80)
    return id, answer, started, updated, id


@external
@view
def getRoundData(_roundId: uint80) -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice A round of any phase; reverts "No data present" for a phase that never was and as its face does.
    @param _roundId The round with its phase.
    @return roundId, answer, time of observation, time of storing, roundId.
    """
    face: address = self.faces[convert(_roundId, uint256) >> PHASE]
    assert face != empty(address), "No data present"
    round: uint80 = 0
    answer: int256 = 0
    started: uint256 = 0
    updated: uint256 = 0
    answered: uint80 = 0
    inner: uint80 = convert(convert(_roundId, uint256) & ROUND_MASK, uint80)
    round, answer, started, updated, answered = staticcall IAggregatorV2V3(face).getRoundData(inner)
    return _roundId, answer, started, updated, self._with_phase(convert(_roundId, uint256) >> PHASE, answered)


@external
@view
def latestAnswer() -> int256:
    """
    @notice The newest answer of the present face.
    @return The answer; 0 or a revert as that face does.
    """
    return staticcall IAggregatorV2V3(self._face(self.current)).latestAnswer()


@external
@view
def latestTimestamp() -> uint256:
    """
    @notice When the newest round of the present face was stored.
    @return Seconds; 0 or a revert as that face does.
    """
    return staticcall IAggregatorV2V3(self._face(self.current)).latestTimestamp()


@external
@view
def latestRound() -> uint256:
    """
    @notice The newest round of the present face.
    @return The round with its phase; the phase alone before the first.
    """
    current: uint256 = self.current
    return ((current >> 160) << PHASE) | staticcall IAggregatorV2V3(self._face(current)).latestRound()


@external
@view
def getAnswer(roundId: uint256) -> int256:
    """
    @notice The answer of a round of any phase.
    @param roundId The round with its phase.
    @return The answer, 0 for an unknown round.
    """
    face: address = self.faces[roundId >> PHASE]
    if face == empty(address):
        return 0
    return staticcall IAggregatorV2V3(face).getAnswer(roundId & ROUND_MASK)


@external
@view
def getTimestamp(roundId: uint256) -> uint256:
    """
    @notice When a round of any phase was stored.
    @param roundId The round with its phase.
    @return Seconds, 0 for an unknown round.
    """
    face: address = self.faces[roundId >> PHASE]
    if face == empty(address):
        return 0
    return staticcall IAggregatorV2V3(face).getTimestamp(roundId & ROUND_MASK)


@external
@view
def decimals() -> uint8:
    """
    @notice Decimal places of the answer.
    @return The number; it never changes.
    """
    return DECIMALS


@external
@view
def description() -> String[128]:
    """
    @notice What the answer is, for people.
    @return As the present face tells it.
    """
    return staticcall IAggregatorV2V3(self._face(self.current)).description()


@external
@view
def version() -> uint256:
    """
    @notice Version of the present face.
    @return The number.
    """
    return staticcall IAggregatorV2V3(self._face(self.current)).version()


# VIEW: phases and what is proposed


@external
@view
def factory() -> address:
    """
    @notice Whose faces this proxy may stand for.
    @return The factory.
    """
    return FACTORY.address


@external
@view
def identity() -> bytes32:
    """
    @notice The series that this proxy tells for ever.
    @return Its hash, as `identity` of each of its faces.
    """
    return IDENTITY


@external
@view
def aggregator() -> address:
    """
    @notice The present face; it logs AnswerUpdated and NewRound.
    @return Its address.
    """
    return self._face(self.current)


@external
@view
def phaseId() -> uint16:
    """
    @notice The present phase.
    @return The phase, counted from 1.
    """
    return convert(self.current >> 160, uint16)


@external
@view
def phaseAggregators(phaseId: uint16) -> address:
    """
    @notice The face of a phase.
    @param phaseId The phase.
    @return Its address; zero if the phase has not been.
    """
    return self.faces[convert(phaseId, uint256)]


@external
@view
def accessController() -> address:
    """
    @notice Who restricts reading, as EACAggregatorProxy tells it.
    @return Always zero: anyone may read.
    """
    return empty(address)


@external
@view
def proposedGetRoundData(_roundId: uint80) -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice A round of the proposed face, as a preview.
    @param _roundId The round, without a phase.
    @return As the proposed face tells it.
    """
    return staticcall IAggregatorV2V3(self._proposed()).getRoundData(_roundId)


@external
@view
def proposedLatestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The newest round of the proposed face, as a preview.
    @return As the proposed face tells it, without a phase.
    """
    return staticcall IAggregatorV2V3(self._proposed()).latestRoundData()


# ROLE: the owner


@external
def proposeAggregator(aggregator: address):
    """
    @notice Announces another face; it can be confirmed 48 h later. Replaces an open proposal, and the 48 h start anew.
    @param aggregator A face of the factory that tells the same series; zero withdraws the proposal.
    """
    # CHECKS
    ownable._check_owner()
    confirmable: uint256 = 0
    if aggregator != empty(address):
        assert staticcall FACTORY.isFace(aggregator), "proxy: not a face of the factory"
        assert staticcall IFeed(aggregator).identity() == IDENTITY, "proxy: another series"
        confirmable = block.timestamp + NOTICE
    # EFFECTS
    self.proposedAggregator = aggregator
    self.confirmableAt = confirmable
    # LOG
    log IFeedProxy.AggregatorProposed(current=self._face(self.current), proposed=aggregator)


@external
def confirmAggregator(aggregator: address):
    """
    @notice Starts the next phase with the proposed face.
    @param aggregator The proposed face, once more.
    """
    # CHECKS
    ownable._check_owner()
    assert aggregator == self._proposed(), "proxy: not the proposed face"
    assert block.timestamp >= self.confirmableAt, "proxy: proposed less than 48 h ago"
    # EFFECTS
    current: uint256 = self.current
    self.proposedAggregator = empty(address)
    self.confirmableAt = 0
    self._begin((current >> 160) + 1, aggregator)
    # LOG
    log IFeedProxy.AggregatorConfirmed(previous=self._face(current), latest=aggregator)


# INTERNAL


@internal
def _begin(phase: uint256, face: address):
    self.current = (phase << 160) | convert(face, uint256)
    self.faces[phase] = face


@internal
@pure
def _face(current: uint256) -> address:
    return convert(current & (2**160 - 1), address)


@internal
@view
def _proposed() -> address:
    proposed: address = self.proposedAggregator
    assert proposed != empty(address), "proxy: nothing is proposed"
    return proposed


@internal
@pure
def _with_phase(phase: uint256, round: uint80) -> uint80:
    return convert((phase << PHASE) | convert(round, uint256), uint80)
