"""Who leads a slot, who transmits when, and whether a report is worth sending.

Why this file exists: every validator must draw the same order from the same public numbers. Never in it: floats, state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from eth_utils.crypto import keccak

from oracle.consensus.events import FeedResult, Head
from oracle.consensus.network import BPS, PPM, FeedId, FeedKind, FeedSpec, NetworkConfig, has_quorum
from oracle.consensus.words import FLAG_FINAL, FLAG_INVALID

_TAG = b"dodona slot order 1"
PROPOSAL_DEADLINE_PERCENT = 60
"""A proposal straight from the leader is attested until this part of the slot, so that late news still spreads."""


def _seed(config: NetworkConfig, slot: int) -> bytes:
    return keccak(_TAG + config.digest + slot.to_bytes(4, "big") + config.randomness)


def order(config: NetworkConfig, slot: int) -> list[int]:
    """Rows of the table in this slot's stake-weighted random order: the leader, then who transmits after it.

    Drawn without replacement: `keccak(...) % stake left` falls on a row with probability proportional to its stake
    (bias below 2^-150); the next draw hashes the last. Rows without stake come last, in table order.
    """
    return _draw(config, slot, len(config.rows))


def leader(config: NetworkConfig, slot: int) -> int:
    """Row that leads the slot: the first of `order`."""
    return _draw(config, slot, 1)[0]


def _draw(config: NetworkConfig, slot: int, count: int) -> list[int]:
    """First `count` rows of the slot's order."""
    left = [(row, entry.stake) for row, entry in enumerate(config.rows) if entry.stake]
    idle = [row for row, entry in enumerate(config.rows) if not entry.stake]
    total, seed, drawn = int(config.total_stake), _seed(config, slot), list[int]()
    while left and len(drawn) < count:
        point = int.from_bytes(seed, "big") % total
        for place, (row, stake) in enumerate(left):  # noqa: B007
            if point < stake:
                break
            point -= stake
        drawn.append(row)
        total -= stake
        del left[place]
        seed = keccak(seed)
    return (drawn + idle)[:count]


def transmit_delay_ms(config: NetworkConfig, slot: int, row: int) -> int:
    """Wait of `row` between holding the attested report and sending it.

    The leader is stage 0; stages then double (1, 2, 4, ... rows), so that 64 rows need 7 stages and the report is still
    young when the last ones try. A quarter stage comes first, so that attestations under way are in.
    """
    stage = order(config, slot).index(row).bit_length()
    return config.stage_ms // 4 + stage * config.stage_ms


def proposal_deadline_ms(config: NetworkConfig, slot: int) -> int:
    """Time from which a proposal straight from the leader is no longer attested."""
    return config.slot_start_ms(slot) + config.slot_seconds * 10 * PROPOSAL_DEADLINE_PERCENT


def fewest_signers(config: NetworkConfig, signers: Collection[int]) -> list[int] | None:
    """Fewest of `signers` (rows) with a quorum, largest stake first, ascending rows; None without a quorum."""
    chosen, stake = list[int](), 0
    for row in sorted(signers, key=lambda row: (-config.rows[row].stake, row)):
        chosen.append(row)
        stake += config.rows[row].stake
        if has_quorum(stake, config.total_stake):
            return sorted(chosen)
    return None


def moved(spec: FeedSpec, head: Head, result: FeedResult) -> bool:
    """Whether the value moved by the feed's deviation since the last valid round.

    Prices: relative to the stored value. Forecasts: any quantile, absolute in 1e-6. Events: the leading outcome, or any
    probability, absolute. Components count only where the head states them.
    """
    if spec.kind is FeedKind.PRICE:
        return head.value != result.value and abs(result.value - head.value) * PPM >= spec.deviation * abs(head.value)
    if spec.kind is FeedKind.EVENT and head.value != result.value:
        return True
    scale = PPM // BPS if spec.kind is FeedKind.EVENT else 1
    known = zip(head.components, result.components, strict=True) if head.components else [(head.value, result.value)]
    return any(old != new and abs(old - new) * scale >= spec.deviation for old, new in known)


def needs_transmit(spec: FeedSpec, head: Head | None, result: FeedResult, slot: int, slot_seconds: int) -> bool:
    """Whether a feed's result of `slot` has to go on chain: first round, heartbeat, INVALID change, FINAL, deviation.

    Heartbeat: sent as soon as waiting one more slot would let the stored round grow older than `heartbeat`. A result
    that is INVALID again waits for the heartbeat whatever its value. False once the chain shows the slot.
    """
    if head is None:
        return True
    if head.slot >= slot:
        return False
    invalid = bool(result.flags & FLAG_INVALID)
    if invalid != head.invalid or (slot + 1 - head.slot) * slot_seconds > spec.heartbeat:
        return True
    if invalid:
        return False
    return moved(spec, head, result) or (bool(result.flags & FLAG_FINAL) and not head.final)


def pages_to_transmit(
    config: NetworkConfig,
    slot: int,
    results: Sequence[FeedResult],
    heads: Mapping[FeedId, Head],
    requested: Collection[FeedId] = (),
) -> int:
    """Bitmap (bit i = i-th page of the tree) of the pages with a feed that needs this report; 0 = nothing to send.

    `requested`: feeds that somebody paid a round for; they count unless the chain already shows the slot.
    """
    chosen = 0
    for spec, result in zip(config.feeds, results, strict=True):
        head = heads.get(spec.number)
        asked = spec.number in requested and (head is None or head.slot < slot)
        if asked or needs_transmit(spec, head, result, slot, config.slot_seconds):
            chosen |= 1 << config.pages.index(spec.page)
    return chosen
