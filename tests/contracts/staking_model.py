"""What Staking must do, told a second time in plain Python with exact integers.

The model keeps whole histories where the contract keeps single words, and holds shares by name. It knows the reason of
each refusal, so the order of the checks is part of it. Its cap is the node's own, `effective_stakes`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from contracts import constant_int
from oracle.consensus.network import effective_stakes

ALL = 2**256 - 1
SEATS = constant_int("MAX_VALIDATORS")
MAX_STAKE = constant_int("MAX_STAKE")
RING = constant_int("MAX_CLOSED_EXITS")
ONE, LIMIT, ROUNDING = constant_int("RATE_ONE"), 10**17, 128
"""Shares of the voting power are in 1e-18; a tenth may change hands in a roll."""
BPS = constant_int("BPS")


def next_shares(before: dict[str, int], goal: dict[str, int], order: dict[str, int]) -> dict[str, int] | None:
    """Shares in 1e-18 of the rows where the churn limit binds; None where all may move at once."""
    old_total, new_total = sum(before.values()), max(sum(goal.values()), 1)
    old = {owner: stake * ONE // old_total for owner, stake in before.items()}
    new = {owner: stake * ONE // new_total for owner, stake in goal.items()}
    rises = sum(max(new[owner] - old[owner], 0) for owner in old)
    falls = sum(max(old[owner] - new[owner], 0) for owner in old)
    if max(rises, falls) <= LIMIT + ROUNDING:
        return None
    left, moved = LIMIT, {}
    for owner in sorted((o for o in old if not goal[o]), key=lambda o: (old[o], -order[o])):
        gone = min(old[owner], left)
        left, moved[owner] = left - gone, old[owner] - gone
    stay = [owner for owner in old if goal[owner]]
    falls = sum(max(old[owner] - new[owner], 0) for owner in stay)
    down = min(left, falls)
    given = min(LIMIT - left + down, rises)
    for owner in stay:
        move = new[owner] - old[owner]
        moved[owner] = old[owner] + (move * given // rises if move > 0 else -(-move * down // falls) if move else 0)
    return moved


class Refused(Exception):
    """Staking must revert, with this reason."""


def refuse(wrong: bool, reason: str) -> None:
    if wrong:
        raise Refused(f"staking: {reason}")


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass
class Pool:
    """Tokens held in shares."""

    tokens: int = 0
    shares: dict[str, int] = field(default_factory=dict)
    closed_by: int = 0

    @property
    def total(self) -> int:
        return sum(self.shares.values())

    def worth(self, account: str) -> int:
        return self.shares.get(account, 0) * self.tokens // self.total if self.total else 0

    def deposit(self, account: str, amount: int) -> None:
        refuse(amount > MAX_STAKE - self.tokens, "bond too large")
        minted = amount * self.total // self.tokens if self.total else amount
        after = minted * (self.tokens + amount) // (self.total + minted) if minted else 0
        refuse(minted == 0 or after + amount // 10**9 + 1 < amount, "amount too small")
        self.tokens += amount
        self.shares[account] = self.shares.get(account, 0) + minted

    def redeem(self, account: str, amount: int) -> int:
        burned = self.shares[account]
        if amount != ALL:
            refuse(amount > self.worth(account), "more than the stake")
            burned = ceil_div(amount * self.total, self.tokens)
        paid = burned * self.tokens // self.total
        self.tokens -= paid
        self.shares[account] -= burned
        if not self.shares[account]:
            del self.shares[account]
        return paid

    def cut(self, rate: int) -> int:
        before = self.tokens
        self.tokens -= ceil_div(before * rate, ONE)
        if Fraction(self.tokens) < Fraction(self.total, 2**32):
            self.tokens = 0
        if not self.tokens:
            self.shares.clear()
        return before - self.tokens


@dataclass
class Member:
    """A validator, or one that was."""

    owner: str
    sequence: int = 0
    bond: Pool = field(default_factory=Pool)
    exits: list[Pool] = field(default_factory=lambda: [Pool()])
    keys: list[tuple[str, int]] = field(default_factory=list)
    marks: dict[int, tuple[int, bool]] = field(default_factory=dict)
    effective: dict[int, int] = field(default_factory=dict)
    jailed: bool = False
    jailed_until: int = 0
    frozen: int = 0
    payee: str = ""
    commissions: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])

    def key(self, roll: int) -> str | None:
        served = [key for key, start in self.keys if start <= roll]
        return served[-1] if served else None

    def commission(self, epoch: int) -> int:
        return [bps for bps, start in self.commissions if start <= epoch][-1]


@dataclass
class StakingModel:
    """All of Staking but what it calls: tokens moved in and out are the caller's to compare."""

    minimum: int
    epoch_seconds: int
    window: int
    least_rows: int
    members: dict[str, Member] = field(default_factory=dict)
    registered: int = 0
    epoch: int = 0
    config: int = 0
    last_roll: int = 0
    starts: dict[int, int] = field(default_factory=dict)
    claims: dict[str, list[tuple[str, Pool]]] = field(default_factory=lambda: defaultdict(list))
    owed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    burnable: int = 0
    rows: list[tuple[str, int]] = field(default_factory=list)
    votes: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def registry(self) -> list[Member]:
        return [member for member in self.members.values() if member.sequence]

    def known(self, owner: str) -> Member:
        refuse(owner not in self.members or not self.members[owner].sequence, "not registered")
        return self.members[owner]

    def standing(self, member: Member) -> bool:
        return member.bond.worth(member.owner) >= self.minimum

    def touch(self, member: Member) -> None:
        member.marks.setdefault(self.epoch, (member.bond.tokens, self.standing(member)))

    # What accounts do

    def register(self, now: int, owner: str, key: str, amount: int) -> None:
        member = self.members.get(owner) or Member(owner, payee=owner)
        refuse(bool(member.sequence), "already registered")
        refuse(amount < self.minimum, "bond below the minimum")
        refuse(bool(member.frozen), "case is open")
        refuse(now < member.jailed_until, "in jail")
        self.check_key(key)
        refuse(amount > MAX_STAKE - member.bond.tokens, "bond too large")
        self.touch(member)
        member.bond.deposit(owner, amount)
        self.registered += 1
        member.sequence, member.jailed = self.registered, False
        self.members[owner] = member
        self.name(member, key)
        self.sync(now, owner)

    def check_key(self, key: str) -> None:
        used = {old for member in self.members.values() for old in self.ever.get(member.owner, ())}
        refuse(key in used, "key registered before")

    @property
    def ever(self) -> dict[str, list[str]]:
        return self.__dict__.setdefault("_ever", {})

    def name(self, member: Member, key: str) -> None:
        self.ever.setdefault(member.owner, []).append(key)
        kept = [entry for entry in member.keys if entry[1] <= self.epoch] if self.epoch else []
        member.keys = [*kept, (key, self.epoch + 2 if self.epoch else 0)]

    def stake(self, now: int, owner: str, account: str, amount: int) -> None:
        """Bond or delegate."""
        member = self.known(owner)
        if account == owner:
            refuse(amount == 0, "nothing to bond")
            refuse(bool(member.frozen), "case is open")
        else:
            refuse(member.jailed, "in jail")
            refuse(not self.standing(member), "bond below the minimum")
        self.touch(member)
        member.bond.deposit(account, amount)
        self.sync(now, account)

    def unbond(self, now: int, owner: str, account: str, amount: int) -> int:
        member = self.members.get(owner)
        refuse(member is None or amount == 0 or not member.bond.shares.get(account), "nothing to unbond")
        assert member is not None
        self.touch(member)
        paid = member.bond.redeem(account, amount)
        if paid:
            pool = member.exits[-1]
            if account not in pool.shares:
                self.claims[account].append((owner, pool))
            pool.deposit(account, paid)
        self.sync(now, account)
        return paid

    def is_free(self, owner: str, pool: Pool, now: int) -> bool:
        if not pool.closed_by or now < self.starts[pool.closed_by] + self.window:
            return False
        frozen = self.members[owner].frozen
        return not frozen or pool.closed_by <= frozen

    def withdraw(self, now: int, account: str) -> int:
        paid, kept = self.owed[account], []
        for owner, pool in self.claims[account]:
            if not pool.tokens:
                continue
            if self.is_free(owner, pool, now):
                paid += pool.redeem(account, ALL)
            else:
                kept.append((owner, pool))
        refuse(not paid and len(kept) == len(self.claims[account]), "nothing to withdraw")
        self.owed[account] = 0
        self.claims[account] = kept
        return paid

    def replace_key(self, owner: str, key: str) -> None:
        member = self.known(owner)
        self.check_key(key)
        self.name(member, key)

    def revoke(self, owner: str) -> None:
        refuse(owner not in self.members or not self.members[owner].keys, "no key to revoke")
        self.members[owner].keys = []

    def set_commission(self, owner: str, bps: int) -> None:
        member = self.known(owner)
        refuse(bps > BPS, "commission above all")
        present = member.commission(self.epoch)
        if bps <= present:
            member.commissions = [(bps, 0)]
        else:
            member.commissions = [(present, 0), (bps, self.epoch + 2)]

    def reward(self, owner: str, amount: int) -> None:
        member = self.known(owner)
        refuse(amount == 0 or amount > MAX_STAKE, "bad reward")
        cut = amount * member.commission(self.epoch) // BPS
        self.touch(member)
        refuse(not member.bond.shares, "nobody to reward")
        refuse(amount - cut > MAX_STAKE - member.bond.tokens, "bond too large")
        member.bond.tokens += amount - cut
        self.owed[member.payee] += cut

    def prune(self, owner: str) -> None:
        member = self.known(owner)
        refuse(member.bond.tokens != 0, "still bonded")
        refuse(bool(member.effective.get(self.config)) or member.exits[-1].tokens != 0, "still counted")
        member.sequence = 0

    def unjail(self, now: int, owner: str) -> None:
        member = self.known(owner)
        refuse(not member.jailed, "not in jail")
        refuse(bool(member.frozen), "case is open")
        refuse(now < member.jailed_until, "in jail")
        refuse(not self.standing(member), "bond below the minimum")
        refuse(not member.keys, "no key")
        member.jailed = False
        member.marks[self.epoch] = (0, False)

    # What Slashing does

    def jail(self, owner: str, until: int, config: int) -> None:
        member = self.members[owner]
        member.jailed, member.jailed_until, member.keys = True, max(member.jailed_until, until), []
        if config:
            member.frozen = min(member.frozen or config, config)

    def slash(self, now: int, owner: str, config: int, rate: int, reporter: str) -> int:
        refuse(rate > ONE, "bad rate")
        member = self.members[owner]
        taken = member.bond.cut(rate)
        for pool in member.exits:
            if not pool.closed_by or pool.closed_by > config:
                before = pool.tokens
                taken += pool.cut(rate)
                if pool is member.exits[-1] and before and not pool.tokens:
                    member.exits.append(Pool())
                    break
        share = min(taken // 10, self.minimum)
        self.owed[reporter] += share
        self.burnable += taken - share
        member.frozen = 0
        self.sync(now, owner)
        return taken

    # Votes

    def staked(self, account: str) -> int:
        return sum(member.bond.worth(account) for member in self.members.values())

    def locked(self, account: str) -> int:
        return self.staked(account) + sum(pool.worth(account) for _, pool in self.claims[account])

    def sync(self, now: int, account: str) -> None:
        self.votes[account].append((now, self.staked(account)))

    def votes_at(self, account: str, time: int) -> int:
        return next((value for when, value in reversed(self.votes[account]) if when <= time), 0)

    # Rolls

    def counted(self, member: Member) -> int:
        stake, standing = member.bond.tokens, self.standing(member)
        if self.epoch:
            stake, standing = member.marks.get(self.epoch, (stake, standing))
        return min(stake, member.bond.tokens + member.exits[-1].tokens) if standing else 0

    def table(self) -> list[tuple[str, int]]:
        """The next rows, largest first: owner and effective stake."""
        present = [m for m in self.registry() if not m.jailed and m.key(self.epoch + 1)]
        backing = {m.owner: m.bond.tokens + m.exits[-1].tokens for m in present}
        before = {m.owner: min(m.effective.get(self.config, 0), backing[m.owner]) for m in present}
        order = {m.owner: m.sequence for m in present}
        wanted = sorted(((m.owner, self.counted(m)) for m in present), key=lambda row: (-row[1], order[row[0]]))
        wanted = [row for row in wanted if row[1]][:SEATS]
        goal = dict(zip([owner for owner, _ in wanted], effective_stakes([s for _, s in wanted]), strict=True))
        sitting = [owner for owner, stake in before.items() if stake]
        newcomers = [owner for owner, _ in wanted if not before[owner]][: SEATS - len(sitting)]
        seats = [*sitting, *newcomers]
        old = {owner: before[owner] for owner in seats}
        new = {owner: goal.get(owner, 0) for owner in seats}
        moved = new
        if any(old.values()) and len(wanted) >= 4 and (shares := next_shares(old, new, order)) is not None:
            total = max(sum(old.values()), sum(new.values()))
            total = min([total, *(max(old[o], new[o]) * ONE // share for o, share in shares.items() if share)])
            moved = {owner: share * total // ONE for owner, share in shares.items()}
        ranked = sorted(((o, s) for o, s in moved.items() if s), key=lambda row: (-row[1], order[row[0]]))
        capped = effective_stakes([stake for _, stake in ranked])
        return [(owner, stake) for (owner, _), stake in zip(ranked, capped, strict=True) if stake]

    def roll(self, now: int) -> bool:
        """Roll; False if the epoch passes without a config. The start of a new config is told by `starts`."""
        refuse(bool(self.epoch) and now < self.last_roll + self.epoch_seconds, "epoch is not over")
        rows = self.table()
        self.epoch, self.last_roll = self.epoch + 1, now
        if self.config and len(rows) < self.least_rows:
            return False
        self.config, self.rows = self.config + 1, rows
        for owner, stake in rows:
            self.members[owner].effective[self.config] = stake
        for member in self.registry():
            pool, place = member.exits[-1], len(member.exits) - 1
            if not pool.tokens or member.effective.get(self.config, 0) > member.bond.tokens:
                continue
            oldest = member.exits[place - RING] if place >= RING else None
            if oldest and oldest.closed_by and not self.is_free(member.owner, oldest, now):
                continue
            pool.closed_by = self.config
            member.exits.append(Pool())
        return True

    def cost_of_corruption(self) -> int:
        total = sum(stake for _, stake in self.rows)
        return min(total // 3 + 1, sum(m.bond.tokens for m in self.members.values())) if total else 0
