"""The Aggregator against a Python model of itself, honest and hostile steps in any order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from eth_tester.exceptions import TransactionFailed
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from contracts import constant_int
from oracle.chain.deploy import send
from oracle.chain.localnet import Draft, LocalNet, sample_words
from oracle.consensus.network import NetworkConfig
from oracle.consensus.words import pack_blob, page_words, unpack_word
from tests.contracts.machines import CountedMachine, run_machine

ATTACKS = (
    "minority", "other slot", "other digest", "other chain", "other contract", "flipped", "future", "forged bitmap",
    "duplicated signer", "high s", "zero signature", "truncated", "padded",
)  # fmt: skip
INVALID = constant_int("FLAG_INVALID")
PAUSED, STALE, EMPTY = (constant_int(f"STATUS_{name}") for name in ("PAUSED", "STALE", "EMPTY"))
DAY, WEEK = constant_int("PAUSE_SECONDS"), constant_int("PAUSE_INTERVAL")
GUARDIAN = 70


@dataclass
class Model:
    """What must be on chain: per feed its newest round, last slot, INVALID bit, and every round's word."""

    rounds: dict[int, int] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    invalid: dict[int, bool] = field(default_factory=dict)
    words: dict[tuple[int, int], int] = field(default_factory=dict)
    round_slots: dict[tuple[int, int], int] = field(default_factory=dict)

    def store(self, config: NetworkConfig, draft: Draft, chosen: int, now: int) -> int:
        """Take a good report as the design says; returns the number of feeds that moved."""
        if now - draft.observed_at > config.max_report_age:
            return 0
        moved = 0
        for feed in config.feeds:
            place = config.pages.index(feed.page)
            if not chosen >> place & 1 or draft.slot <= self.slots.get(feed.number, 0):
                continue
            word = page_words(draft.pages[place])[feed.number % 4]
            moved += 1
            self.slots[feed.number] = draft.slot
            self.invalid[feed.number] = bool(word >> 48 & INVALID)
            if not self.invalid[feed.number]:
                round_ = self.rounds[feed.number] = self.rounds.get(feed.number, 0) + 1
                stamp = now << 16 | now - draft.observed_at
                self.words[feed.number, round_] = word | stamp
                self.round_slots[feed.number, round_] = draft.slot
        return moved

    def page_slot(self, number: int) -> int:
        """The last slot of a page's feeds: they share it."""
        page = number // 4
        return max((slot for feed, slot in self.slots.items() if feed // 4 == page), default=0)


class AggregatorMachine(CountedMachine):
    """Reports in any order and of any age, replays, conflicts, forgeries, pulls, pauses, rolls, revocations."""

    net: LocalNet  # set by the test

    @initialize()
    def start(self) -> None:
        self.taken = self.net.chain.snapshot()
        self.now_net = replace(self.net, keys=dict(self.net.keys))
        self.configs = [self.now_net.active]
        self.model = Model()
        self.drafts: list[tuple[Draft, NetworkConfig]] = []
        self.revoked: set[bytes] = set()
        self.paused: dict[int, int] = {}
        self.value = 1_000
        guardian = self.net.chain.accounts[GUARDIAN]
        send(self.net.chain.w3, self.aggregator().functions.setGuardian(guardian), self.net.core.owner)

    def teardown(self) -> None:
        if hasattr(self, "taken"):
            self.net.chain.revert(self.taken)

    def aggregator(self):
        return self.now_net.core.aggregator

    def blob(self, draft: Draft, config: NetworkConfig, signers, chosen: int) -> bytes:
        signatures = self.now_net.sign(draft, signers, config)
        return pack_blob(draft.slot, draft.observed_at, signatures, draft.pages, chosen)

    def good_signers(self, config: NetworkConfig) -> list[int]:
        return [row for row, line in enumerate(config.rows) if line.address not in self.revoked]

    def has_quorum(self, config: NetworkConfig, signers) -> bool:
        return 3 * sum(config.rows[row].stake for row in signers) > 2 * config.total_stake

    @rule(
        slots=st.integers(0, 3), late=st.integers(0, 59), bad=st.sets(st.integers(0, 9), max_size=2),
        push=st.integers(0, 7),
    )  # fmt: skip
    def observe(self, slots: int, late: int, bad: set[int], push: int) -> None:
        """Time goes on; there is a new report, of which the pages `push` go on chain at once and others may later."""
        chain = self.now_net.chain
        chain.move_to(chain.now + 60 * slots + 1)
        slot = self.configs[-1].slot_at(chain.now * 1000)
        config = next((c for c in reversed(self.configs) if c.first_slot <= slot), None)
        if config is None:
            return
        self.value += 1
        words = sample_words(config.feeds, self.value)
        marked = sample_words(config.feeds, self.value, INVALID)
        words |= {feed.number: marked[feed.number] for feed in config.feeds if feed.number in bad}
        start = config.slot_start_ms(slot) // 1000
        second = min(start + late, chain.now)
        self.drafts.append((self.now_net.draft(words, slot=slot, late=second - start), config))
        if push:
            self.send(*self.drafts[-1], push)

    @precondition(lambda self: self.drafts)
    @rule(pick=st.integers(0, 5), chosen=st.integers(1, 7), wait=st.sampled_from([0, 1, 20, 151]))
    def transmit(self, pick: int, chosen: int, wait: int) -> None:
        """Any known report, new or old, any of its pages, by anyone."""
        self.now_net.chain.move_to(self.now_net.chain.now + wait)
        self.send(*self.drafts[-1 - pick % len(self.drafts)], chosen)

    def send(self, draft: Draft, config: NetworkConfig, chosen: int) -> None:
        signers, now = self.good_signers(config), self.now_net.chain.now
        outdated = len(self.configs) > 1 and draft.slot < self.configs[-2].first_slot
        fresh = not outdated and now - draft.observed_at <= config.max_report_age and any(
            draft.slot > self.model.slots.get(feed.number, 0)
            for feed in config.feeds if chosen >> config.pages.index(feed.page) & 1
        )  # fmt: skip
        blob = self.blob(draft, config, signers, chosen)
        if fresh and not self.has_quorum(config, signers):
            self.refused(blob)
            return
        expected = self.model.store(config, draft, chosen, now) if fresh else 0
        assert self.aggregator().functions.transmit(blob).call({}, "pending") == expected
        self.now_net.transmit(blob)

    @precondition(lambda self: self.drafts)
    @rule(first=st.integers(1, 7), second=st.integers(1, 7))
    def push_conflicting_reports(self, first: int, second: int) -> None:
        """More than 2/3 sign two reports of one slot: each page takes the one that comes first, and only that."""
        draft, config = self.drafts[-1]
        self.value += 1
        other = replace(draft, pages=self.now_net.draft(sample_words(config.feeds, self.value)).pages)
        self.send(draft, config, first)
        self.send(other, config, second)
        self.drafts.append((other, config))

    @precondition(lambda self: self.drafts)
    @rule(pick=st.integers(0, 5), feed=st.integers(0, 5), max_age=st.sampled_from([0, 30, 60, 150, 10**6]))
    def verify(self, pick: int, feed: int, max_age: int) -> None:
        """A report that is only read says what was signed, or is refused for the reason that the model knows."""
        draft, config = self.drafts[-1 - pick % len(self.drafts)]
        number = config.feeds[feed].number
        blob = self.blob(draft, config, self.good_signers(config), 7)
        call = self.aggregator().functions.verify(blob, number, max_age)
        reason = self.why_not(draft, config, number, max_age)
        if reason:
            with pytest.raises(TransactionFailed, match=reason + "$"):
                call.call({}, "pending")
            return
        word = unpack_word(page_words(draft.pages[config.pages.index(number // 4)])[number % 4])
        assert call.call({}, "pending")[:4] == (number, draft.slot, draft.observed_at, word.value)

    def why_not(self, draft: Draft, config: NetworkConfig, number: int, max_age: int) -> str:
        """The reason for which `verify` must refuse a draft; empty if it must not."""
        age = self.now_net.chain.now - draft.observed_at
        if self.is_paused(number):
            return "aggregator: paused"
        outdated = len(self.configs) > 1 and draft.slot < self.configs[-2].first_slot
        if outdated or age > config.max_report_age:
            return "aggregator: report too old"
        if not self.has_quorum(config, self.good_signers(config)):
            return "aggregator: no quorum"
        if age > max_age:
            return "aggregator: report too old"
        if draft.slot < self.model.page_slot(number):
            return "aggregator: older than stored"
        word = page_words(draft.pages[config.pages.index(number // 4)])[number % 4]
        return "aggregator: invalid" if word >> 48 & INVALID else ""

    @rule(number=st.sampled_from([0, 1, 2, 4, 7, 9, None]), wait=st.sampled_from([0, 60, DAY, WEEK]))
    def pause(self, number: int | None, wait: int) -> None:
        """The guardian pauses a feed or all (None), if it may by now."""
        chain, key = self.now_net.chain, -1 if number is None else number
        if wait > 60 and self.value % 4:
            wait = 0  # time that runs away makes every report too old: let it happen seldom
        chain.move_to(chain.now + wait)
        functions = self.aggregator().functions
        call = functions.pauseAll() if number is None else functions.pause(number)
        if key in self.paused and chain.now < self.paused[key] + WEEK:
            with pytest.raises(TransactionFailed, match="aggregator: paused less than a week ago"):
                call.call({"from": chain.accounts[GUARDIAN]}, "pending")
            return
        self.paused[key] = chain.now
        send(chain.w3, call, chain.accounts[GUARDIAN])

    def is_paused(self, number: int) -> bool:
        now = self.now_net.chain.now
        return any(now < self.paused[key] + DAY for key in (-1, number) if key in self.paused)

    @precondition(lambda self: self.drafts)
    @rule(attack=st.sampled_from(ATTACKS), at=st.integers(0, 10**6))
    def attack(self, attack: str, at: int) -> None:
        """A forgery never moves anything."""
        draft, config = self.drafts[-1]
        signers = self.good_signers(config)
        if attack == "minority":
            while self.has_quorum(config, signers):
                signers = signers[1:]
        elif attack == "other slot":
            draft = replace(draft, slot=draft.slot + 1)
        elif attack == "other digest":
            config = replace(config, count=config.count + 1)
        elif attack == "other chain":
            config = replace(config, chain_id=config.chain_id + 1)
        elif attack == "other contract":
            config = replace(config, aggregator=config.aggregator[::-1])
        elif attack == "future":
            draft = replace(draft, slot=draft.slot + 10**6, observed_at=draft.observed_at + 60 * 10**6)
        if attack in ("forged bitmap", "duplicated signer", "high s", "zero signature"):
            self.refused(self.forged(attack, draft, config))
            return
        blob = bytearray(self.blob(draft, config, signers, 7 if attack != "truncated" else 1))
        if attack == "flipped":
            blob[at % len(blob)] ^= 1 + at % 255
        elif attack == "truncated":
            blob = blob[: 32 + at % (len(blob) - 32)]
        elif attack == "padded":
            blob += bytes(1 + at % 64)
        self.refused(bytes(blob))

    def forged(self, attack: str, draft: Draft, config: NetworkConfig) -> bytes:
        """Two honest signatures, and a third one that is none."""
        (one, two, *_), rows = self.now_net.sign(draft, range(2), config), len(config.rows)
        high = one[1][:32] + (2**255 - 1).to_bytes(32)
        third = {
            "forged bitmap": (rows - 1, two[1]), "duplicated signer": (rows - 1, one[1]),
            "high s": (rows - 1, high), "zero signature": (rows - 1, bytes(64)),
        }[attack]  # fmt: skip
        return pack_blob(draft.slot, draft.observed_at, [one, two, third], draft.pages, 7)

    def refused(self, blob: bytes) -> None:
        """Reverts, or is a no-op because nothing in it is new."""
        try:
            assert self.aggregator().functions.transmit(blob).call({}, "pending") == 0
        except TransactionFailed as error:
            assert "aggregator: " in str(error) or "b''" in str(error)

    @rule()
    def roll(self) -> None:
        """A config change in mid-flight; the clock stays where it is."""
        chain, last = self.now_net.chain, self.configs[-1]
        settled = last.anchor_time + last.max_report_age
        if chain.now <= settled:
            with pytest.raises(TransactionFailed, match="configurator: config is still settling"):
                self.now_net.core.staking.functions.rollEpoch().call({}, "pending")
            return
        if len(last.rows) - len(self.revoked & {row.address for row in last.rows}) < 3:
            return
        before = chain.now
        self.configs.append(self.now_net.roll())
        chain.move_to(before + 1)

    @precondition(lambda self: not self.revoked)
    @rule(row=st.integers(0, 3))
    def revoke(self, row: int) -> None:
        """A cold owner takes its hot key back."""
        line = self.configs[-1].rows[row % len(self.configs[-1].rows)]
        staking = self.now_net.core.staking.functions
        owner = staking.ownerOf(self.now_net.keys[line.address].checksum_address).call()
        staking.revokeKey().transact({"from": owner, "gas": 10**6})
        self.revoked.add(line.address)

    @invariant()
    def heads_and_rings_equal_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        view, model = self.aggregator().functions, self.model
        for feed in self.configs[0].feeds[: 1 + self.value % 6]:
            number = feed.number
            expected = (model.invalid.get(number, False), model.rounds.get(number, 0), model.slots.get(number, 0))
            assert tuple(view.head(number).call()) == expected
            newest = model.rounds.get(number, 0)
            assert tuple(view.latest(number).call()) == (newest, model.words.get((number, newest), 0))
            slots = [model.round_slots[number, round_] for round_ in range(1, newest + 1)]
            assert slots == sorted(set(slots)), "slots strictly increase, at most one round a slot"
            if newest:
                assert view.slotOf(number, newest).call() == slots[-1]
            status = view.status(number).call({}, "pending")
            assert bool(status & PAUSED) == self.is_paused(number)
            assert bool(status & EMPTY) == (newest == 0) and (newest > 0 or status & STALE)


def test_aggregator__any_order_of_steps__equals_the_model(first_net):
    AggregatorMachine.net = first_net
    run_machine(AggregatorMachine, 0.4)
