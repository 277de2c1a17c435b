# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Gates: whether a feed's newest round can be relied on now
@license AGPL-3.0-only
@notice Staleness, retirement, the guardian's pauses and the sequencer of an L2. Rounds are verified and stored whatever
        stands here: a gate changes what faces and `verify` answer, never a value.
@dev What changes with a config (stale after, retires at) is copied here at the roll, so that a reader needs one word.
"""

from snekmate.auth import ownable

from .. import constants
from . import bits
from ..interfaces import IAggregator

uses: ownable

# Answer of a Chainlink-shaped feed: five words.
ROUND_BYTES: constant(uint256) = 160
GATE_BITS: constant(uint256) = 2**72 - 1
PAUSE_BITS: constant(uint256) = (2**80 - 1) << 72

guardian: public(address)
# Uptime source of the sequencer 160 | grace 32 | all paused until 40 | zero 24. Zero source: no sequencer.
guard: uint256
pauseAllFrom: uint256
# A feed: zero 72 | requested slot 32 | may be paused again from 40 | paused until 40 | retires at 40 | stale after 32.
gates: uint256[65536]


# VIEW


@external
@view
def staleAfter(number: uint256) -> uint256:
    """
    @notice Age at which the newest round is stale: the heartbeat and the age at which its report may still land.
    @param number Feed number.
    @return Seconds since the observation; 0 for a feed that was never in a config.
    """
    return self._gate(number) & bits.MASK_32


@external
@view
def retiresAt(number: uint256) -> uint256:
    """
    @notice When a feed ends, as the newest config states it.
    @param number Feed number.
    @return Second; 0 while no notice is given.
    """
    return (self._gate(number) >> 32) & bits.MASK_40


@external
@view
def pausedUntil(number: uint256) -> uint256:
    """
    @notice Until when the guardian has paused a feed.
    @param number Feed number.
    @return Second, possibly past; 0 if never paused.
    """
    return (self._gate(number) >> 72) & bits.MASK_40


@external
@view
def pausedAllUntil() -> uint256:
    """
    @notice Until when the guardian has paused all feeds.
    @return Second, possibly past; 0 if never paused.
    """
    return (self.guard >> 24) & bits.MASK_40


@external
@view
def sequencer() -> (address, uint256):
    """
    @notice Whom the gate asks whether the sequencer of this L2 is up.
    @return A Chainlink-shaped uptime feed (answer 0 up, 1 down; zero address: none), and the grace in seconds.
    """
    return convert(self.guard >> 96, address), (self.guard >> 64) & bits.MASK_32


# ROLE: the owner


@external
def setGuardian(guardian: address):
    """
    @notice Names who may pause, for 24 hours at most once a week. Only the owner.
    @param guardian The guardian; zero: nobody.
    """
    # CHECKS
    ownable._check_owner()
    # EFFECTS
    self.guardian = guardian
    # LOG
    log IAggregator.GuardianSet(guardian=guardian)


@external
def setSequencer(source: address, grace: uint256):
    """
    @notice Names the uptime feed of this L2's sequencer. Only the owner.
    @param source A Chainlink-shaped feed (answer 0 up, 1 down, startedAt of the last change); zero: none.
    @param grace Seconds after a restart in which nothing is relied on; at most a day.
    """
    # CHECKS
    ownable._check_owner()
    assert grace <= 86400, "aggregator: grace too long"
    # EFFECTS
    self.guard = (self.guard & (bits.MASK_40 << 24)) | (convert(source, uint256) << 96) | (grace << 64)
    # LOG
    log IAggregator.SequencerSet(source=source, grace=grace)


# ROLE: the guardian


@external
def pause(number: uint256):
    """
    @notice Makes faces and `verify` say PAUSED for one feed; ends by itself after 24 hours. Only the guardian, at most
            once a week and feed. Rounds are verified and stored meanwhile.
    @param number Feed number.
    """
    # CHECKS
    gate: uint256 = self._known(number)
    self._check_guardian()
    assert block.timestamp >= (gate >> 112) & bits.MASK_40, "aggregator: paused less than a week ago"
    # EFFECTS
    until: uint256 = block.timestamp + constants.PAUSE_SECONDS
    again: uint256 = block.timestamp + constants.PAUSE_INTERVAL
    self.gates[number] = (gate & ~PAUSE_BITS) | (again << 112) | (until << 72)
    # LOG
    log IAggregator.Paused(number=number, until=until)


@external
def pauseAll():
    """
    @notice Makes faces and `verify` say PAUSED for all feeds; ends by itself after 24 hours. Only the guardian, at most
            once a week. Rounds are verified and stored meanwhile.
    """
    # CHECKS
    self._check_guardian()
    assert block.timestamp >= self.pauseAllFrom, "aggregator: paused less than a week ago"
    # EFFECTS
    until: uint256 = block.timestamp + constants.PAUSE_SECONDS
    self.pauseAllFrom = block.timestamp + constants.PAUSE_INTERVAL
    self.guard = (self.guard & ~(bits.MASK_40 << 24)) | (until << 24)
    # LOG
    log IAggregator.PausedAll(until=until)


@external
def unpause(number: uint256):
    """
    @notice Ends a feed's pause early. Only the guardian.
    @param number Feed number.
    """
    # CHECKS
    gate: uint256 = self._known(number)
    self._check_guardian()
    assert block.timestamp < (gate >> 72) & bits.MASK_40, "aggregator: not paused"
    # EFFECTS
    self.gates[number] = gate & ~(bits.MASK_40 << 72)
    # LOG
    log IAggregator.Unpaused(number=number)


@external
def unpauseAll():
    """
    @notice Ends the pause of all feeds early. Only the guardian.
    """
    # CHECKS
    self._check_guardian()
    assert block.timestamp < (self.guard >> 24) & bits.MASK_40, "aggregator: not paused"
    # EFFECTS
    self.guard = self.guard & ~(bits.MASK_40 << 24)
    # LOG
    log IAggregator.UnpausedAll()


# INTERNAL


@internal
@view
def _check_guardian():
    assert msg.sender == self.guardian, "aggregator: caller is not the guardian"


@internal
def _adopt(gates: DynArray[uint256, 128]):
    # EFFECTS: number 16 | zero 168 | retires at 40 | stale after 32; a word that stays the same is not written.
    for gate: uint256 in gates:
        known: uint256 = self.gates[gate >> 240]
        if known & GATE_BITS != gate & GATE_BITS:
            self.gates[gate >> 240] = (known & ~GATE_BITS) | (gate & GATE_BITS)


@internal
@view
def _gate(number: uint256) -> uint256:
    if number > constants.MAX_FEED_NUMBER:
        return 0
    return self.gates[number]


@internal
@view
def _known(number: uint256) -> uint256:
    gate: uint256 = self._gate(number)
    assert gate & bits.MASK_32 != 0, "aggregator: unknown feed"
    return gate


@internal
@view
def _status(gate: uint256, invalid: bool, word: uint256) -> uint256:
    """
    @notice Everything that speaks against a feed's newest round.
    @param gate The feed's gate.
    @param invalid Whether the last report called the feed INVALID.
    @param word The stored word of the newest round; 0 if there is none.
    @return STATUS bits of constants.vy.
    """
    found: uint256 = self._closed(gate)
    if invalid:
        found |= constants.STATUS_INVALID
    if word == 0:
        return found | constants.STATUS_EMPTY | constants.STATUS_STALE
    observed_at: uint256 = ((word >> 16) & bits.MASK_32) - (word & bits.MASK_16)
    if block.timestamp > observed_at + (gate & bits.MASK_32):
        found |= constants.STATUS_STALE
    return found


@internal
@view
def _closed(gate: uint256) -> uint256:
    """
    @notice What speaks against any value of a feed, stored or not.
    @param gate The feed's gate.
    @return STATUS bits PAUSED, RETIRED, SEQUENCER.
    """
    found: uint256 = 0
    guard: uint256 = self.guard
    if block.timestamp < (guard >> 24) & bits.MASK_40 or block.timestamp < (gate >> 72) & bits.MASK_40:
        found = constants.STATUS_PAUSED
    retires: uint256 = (gate >> 32) & bits.MASK_40
    if retires != 0 and retires <= block.timestamp:
        found |= constants.STATUS_RETIRED
    if guard >> 96 != 0 and not self._sequencer_is_up(guard):
        found |= constants.STATUS_SEQUENCER
    return found


@internal
@view
def _check_open(gate: uint256):
    # CHECKS
    closed: uint256 = self._closed(gate)
    assert closed & constants.STATUS_PAUSED == 0, "aggregator: paused"
    assert closed & constants.STATUS_SEQUENCER == 0, "aggregator: sequencer down"
    assert closed & constants.STATUS_RETIRED == 0, "aggregator: retired"


@internal
@view
def _sequencer_is_up(guard: uint256) -> bool:
    # A source that does not answer, or not in this shape, counts as down.
    success: bool = False
    response: Bytes[ROUND_BYTES] = b""
    success, response = raw_call(
        convert(guard >> 96, address),
        method_id("latestRoundData()"),
        max_outsize=ROUND_BYTES,
        is_static_call=True,
        revert_on_failure=False,
    )
    if not success or len(response) != ROUND_BYTES:
        return False
    answer: uint256 = extract32(response, 32, output_type=uint256)
    since: uint256 = extract32(response, 64, output_type=uint256)
    if answer != 0 or since == 0 or since > block.timestamp:
        return False
    return block.timestamp - since > (guard >> 64) & bits.MASK_32
