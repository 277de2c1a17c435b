"""What surrounds the simulated validators: a small config, the prices they see, a chain, and the judge.

Why this file exists: the judge must not trust the cores; it keeps its own record of what was signed, attested, stored
and delivered. Never in it: anything that the shipped node runs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from oracle.consensus.aggregate import rescale
from oracle.consensus.events import AttestedReport, Evidence, Head
from oracle.consensus.messages import (
    Attestation,
    FeedObservation,
    Kind,
    Report,
    SignedObservation,
    SignedProposal,
    Values,
)
from oracle.consensus.network import (
    MS,
    FeedId,
    FeedKind,
    FeedSpec,
    NetworkConfig,
    Slot,
    Stake,
    ValidatorRow,
    effective_stakes,
    has_quorum,
)
from oracle.consensus.schedule import leader
from oracle.consensus.verify import Recover
from oracle.consensus.words import (
    FLAG_DISPERSION,
    FLAG_TURNOUT,
    FLAG_VECTOR,
    bits_of,
    page_words,
    root_from_multiproof,
    unpack_blob,
    unpack_word,
)

ANCHOR_TIME = 1_700_000_000


def small_feed(number: int, kind: FeedKind, slot_seconds: int, outcomes: int = 2) -> FeedSpec:
    """A feed for simulations and tests: sent every slot, wide bounds."""
    event = kind is FeedKind.EVENT
    return FeedSpec(
        number=FeedId(number),
        kind=kind,
        decimals={FeedKind.PRICE: 8, FeedKind.FORECAST: 6, FeedKind.EVENT: 0}[kind],
        outcomes=outcomes if event else 0,
        base=f"BASE{number}".encode().ljust(32, b"\0"),
        quote=(b"" if event else b"USD").ljust(32, b"\0"),
        horizon=3_600 if kind is FeedKind.FORECAST else 0,
        heartbeat=slot_seconds,
        deviation=1_000,
        min_value=0 if event else -(10**14),
        max_value=outcomes - 1 if event else 10**14,
        max_dispersion=200_000,
        jump=100_000,
        veto_band=400_000,
        min_sources=1,
        min_observers=1,
        max_family_share=10_000,
        methodology=bytes(32),
        sources=bytes(32),
    )


def small_config(stakes: Iterable[int], slot_seconds: int = 20, feeds: int = 4, outcomes: int = 2) -> NetworkConfig:
    """A config over raw stakes: `feeds` feeds, of which number 4 is a forecast and 8 an event of so many outcomes."""
    ordered = sorted(stakes, reverse=True)
    rows = tuple(
        ValidatorRow(bytes([row + 1]) * 20, Stake(stake))
        for row, stake in enumerate(effective_stakes([stake * 10**18 for stake in ordered]))
    )
    kinds = [(0, FeedKind.PRICE), (1, FeedKind.PRICE), (4, FeedKind.FORECAST), (8, FeedKind.EVENT)]
    kinds += [(number, FeedKind.PRICE) for number in range(12, 8 + feeds)]
    return NetworkConfig(
        chain_id=1337,
        aggregator=b"\xaa" * 20,
        count=1,
        randomness=b"\x07" * 32,
        anchor_slot=Slot(0),
        anchor_time=ANCHOR_TIME,
        slot_seconds=slot_seconds,
        first_slot=Slot(10),
        max_report_age=2 * slot_seconds + 30,
        grace_ms=500,
        stage_ms=1_000,
        min_validators=1,
        rows=rows,
        feeds=tuple(small_feed(number, kind, slot_seconds, outcomes) for number, kind in kinds[:feeds]),
    )


@dataclass(slots=True)
class World:
    """What is true: a price that walks; each validator sees it with noise and sometimes not at all."""

    config: NetworkConfig
    seed: int

    def observe(self, slot: Slot, chance: random.Random) -> Values:
        """One honest validator's values for a slot."""
        truth = random.Random(self.seed << 32 | slot).randint(95 * 10**6, 105 * 10**6)
        return tuple(None if chance.random() < 0.02 else self._see(spec, truth, chance) for spec in self.config.feeds)

    def _see(self, spec: FeedSpec, truth: int, chance: random.Random) -> FeedObservation:
        noise = chance.randint(-20_000, 20_000)
        seen = FeedObservation(spec.number, truth + noise, abs(noise), (truth, truth), sources=0b111)
        if spec.kind is FeedKind.FORECAST:
            spread = tuple(level * 1_000 + noise // 10 for level in (-40, -20, -15, -7, 0, 7, 15, 20, 40))
            return replace(seen, value=spread[4], components=spread, family_share=5_000)
        if spec.kind is FeedKind.EVENT:
            rest = [chance.randint(1, 9) for _ in range(spec.outcomes - 1)] if spec.outcomes > 2 else [1]
            yes = 6_000 + noise // 100
            odds = (yes, *rescale(rest, 10_000 - yes))
            return replace(seen, value=0, components=odds, resolved=truth > 10**8)
        return seen


@dataclass(slots=True)
class SimulatedChain:
    """The Aggregator's rules over the real transmit bytes: age, quorum, slot and time bound, root, later slots only."""

    configs: tuple[NetworkConfig, ...]
    recover: Recover
    stored: dict[int, bytes] = field(default_factory=dict)
    _heads: dict[FeedId, Head] = field(default_factory=dict)

    def heads(self) -> dict[FeedId, Head]:
        """What a node reads."""
        return dict(self._heads)

    def transmit(self, data: bytes, now_ms: int, verdict: Verdict) -> int:
        """Store a report's pages; returns the number of feeds stored, 0 when stale. A bad blob is a violation."""
        blob = unpack_blob(data)
        config = [config for config in self.configs if config.first_slot <= blob.slot][-1]
        age = now_ms // MS - blob.observed_at
        fresh = [
            word
            for page in blob.pages
            for word in map(unpack_word, page_words(page))
            if config.feed(word.feed) is not None
            and (word.feed not in self._heads or self._heads[FeedId(word.feed)].slot < blob.slot)
        ]
        if age > config.max_report_age or not fresh:
            verdict.counts["chain:stale"] += 1
            return 0
        root = root_from_multiproof(blob.count, blob.chosen, blob.pages, blob.siblings)
        digest = Report(config.digest, Slot(blob.slot), blob.observed_at, root).digest(config)
        rows = bits_of(blob.signers)
        if not any(self.recover(digest, signature) for signature in blob.signatures):
            # Signed under the config before, by validators that had not heard of this one: the contract reverts.
            verdict.counts["chain:other_config"] += 1
            return 0
        for row, signature in zip(rows, blob.signatures, strict=True):
            if self.recover(digest, signature) != config.rows[row].address:
                verdict.safety.append(f"slot {blob.slot}: a signature sent to the chain is not row {row}'s")
        if not has_quorum(sum(config.rows[row].stake for row in rows), config.total_stake):
            verdict.safety.append(f"slot {blob.slot}: sent to the chain without quorum")
        if config.slot_at(blob.observed_at * MS) != blob.slot:
            verdict.safety.append(f"slot {blob.slot}: time lies in another slot")
        for word in fresh:
            head = Head(FeedId(word.feed), Slot(blob.slot), word.invalid, word.value)
            self._heads[head.feed] = head
        if self.stored.setdefault(blob.slot, digest) != digest:
            verdict.safety.append(f"slot {blob.slot}: two reports on chain")
        return len(fresh)


@dataclass(slots=True)
class Verdict:
    """What happened in a run, and every broken promise as a sentence.

    `safety`: agreement, integrity, one signature per slot and kind, true accusations only. `liveness`: slots whose
    leader was honest and connected, without a report on chain. `due`: how many slots the liveness promise covered.
    """

    safety: list[str] = field(default_factory=list)
    liveness: list[str] = field(default_factory=list)
    due: int = 0
    slots: int = 0
    reports: int = 0
    crashes: int = 0
    messages: int = 0
    bytes_sent: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    offenders: set[tuple[Kind, int]] = field(default_factory=set)
    cut: set[tuple[int, int, int]] = field(default_factory=set)
    unwell: set[tuple[int, int]] = field(default_factory=set)
    _reports: dict[int, bytes] = field(default_factory=dict)
    _signed: dict[tuple[int, Kind, int], bytes] = field(default_factory=dict)

    def signed(self, row: int, kind: Kind, slot: int, digest: bytes) -> None:
        """Note a signature of an honest validator; a second, different one breaks safety."""
        if self._signed.setdefault((row, kind, slot), digest) != digest:
            self.safety.append(f"slot {slot}: honest row {row} signed two {kind}s")

    def attested(
        self, config: NetworkConfig, attested: AttestedReport, proposal: SignedProposal, bad: frozenset[int]
    ) -> None:
        """Note a report with a quorum: one per slot, each component within the included honest observations."""
        report = attested.report
        if self._reports.setdefault(report.slot, report.struct_hash) != report.struct_hash:
            self.safety.append(f"slot {report.slot}: two reports have a quorum")
        honest = [item.observation.values for item in proposal.proposal.observations if item.signer not in bad]
        for place, result in enumerate(attested.results):
            seen = [value for values in honest if (value := values[place]) is not None]
            unsound = result.flags & FLAG_DISPERSION and len(result.components) not in (2, 9)
            if result.flags & FLAG_TURNOUT or unsound or not seen:
                continue
            columns = [(result.value, [item.value for item in seen])]
            if result.flags & FLAG_VECTOR:
                columns += [(part, [item.components[at] for item in seen]) for at, part in enumerate(result.components)]
            if any(not min(said) <= part <= max(said) for part, said in columns):
                self.safety.append(f"slot {report.slot}: feed {result.feed} lies outside the honest observations")

    def accused(self, config: NetworkConfig, evidence: Evidence, bad: frozenset[int], recover: Recover) -> None:
        """Note evidence; it must be real and against a Byzantine validator."""
        digests = set[bytes]()
        for message in (evidence.first, evidence.second):
            match message:
                case SignedObservation(signed, _, signature) | SignedProposal(signed, signature):
                    digest = signed.digest(config)
                case Attestation(report, _, _, signature):
                    digest = report.digest(config)
                case _:
                    self.safety.append(f"slot {evidence.slot}: a request is no evidence")
                    return
            digests.add(digest)
            if recover(digest, signature) != config.rows[evidence.offender].address:
                self.safety.append(f"slot {evidence.slot}: evidence against row {evidence.offender} is not signed")
        if evidence.offender not in bad or len(digests) != 2:
            self.safety.append(f"slot {evidence.slot}: honest row {evidence.offender} was accused")
        self.offenders.add((evidence.kind, evidence.offender))

    def judge(
        self, config_at: Callable[[int], NetworkConfig], slots: range, chain: SimulatedChain, bad: frozenset[int]
    ) -> None:
        """After the run: find slots that had to have a report and have none."""
        self.slots, self.reports = len(slots), sum(slot in chain.stored for slot in slots)
        for slot in slots:
            config = config_at(slot)
            first = leader(config, slot)
            if first in bad or (slot, first) in self.unwell:
                continue
            peers = [
                row
                for row in range(len(config.rows))
                if row not in bad
                and (slot, row) not in self.unwell
                and (slot, min(row, first), max(row, first)) not in self.cut
            ]
            if has_quorum(sum(config.rows[row].stake for row in peers), config.total_stake):
                self.due += 1
                if slot not in chain.stored:
                    self.liveness.append(f"slot {slot}: leader {first} reached rows {peers}, yet no report")
