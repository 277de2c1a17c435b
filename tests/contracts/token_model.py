"""What the token must do, told a second time in plain Python, and its signed messages as a wallet makes them.

The model keeps every point of every trace and searches them from end to end. It says which reason a refusal has, so the
order of the checks is part of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils import to_checksum_address

ZERO = "0x" + "00" * 20
ENDLESS = 2**256 - 1
HALF_N = (2**256 - 432420386565659656852420866394968145599) // 2
DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
PERMIT_TYPE = [
    {"name": "owner", "type": "address"},
    {"name": "spender", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "nonce", "type": "uint256"},
    {"name": "deadline", "type": "uint256"},
]
DELEGATION_TYPE = [
    {"name": "delegatee", "type": "address"},
    {"name": "nonce", "type": "uint256"},
    {"name": "expiry", "type": "uint256"},
]
Vrs = tuple[int, int, int]
Trace = list[tuple[int, int]]
Moves = list[tuple[str, int, int]]


class Refused(Exception):
    """The token must revert, with this reason."""


def refuse(wrong: bool, reason: str) -> None:
    if wrong:
        raise Refused(reason)


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain of a token."""

    chain_id: int
    token: str

    def permit(self, owner: str, spender: str, value: int, nonce: int, deadline: int) -> SignableMessage:
        message = {"owner": owner, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline}
        return self._typed("Permit", PERMIT_TYPE, message)

    def delegation(self, delegatee: str, nonce: int, expiry: int) -> SignableMessage:
        message = {"delegatee": delegatee, "nonce": nonce, "expiry": expiry}
        return self._typed("Delegation", DELEGATION_TYPE, message)

    def _typed(self, name: str, fields: list[dict[str, str]], message: dict[str, Any]) -> SignableMessage:
        domain = {"name": "Dodona", "version": "1", "chainId": self.chain_id, "verifyingContract": self.token}
        types = {"EIP712Domain": DOMAIN_TYPE, name: fields}
        full = {"types": types, "primaryType": name, "domain": domain, "message": message}
        return encode_typed_data(full_message=full)


def sign(key: Any, message: SignableMessage) -> Vrs:
    signed = Account.sign_message(message, key)
    return signed.v, signed.r, signed.s


def signer_of(message: SignableMessage, vrs: Vrs) -> str:
    return to_checksum_address(Account.recover_message(message, vrs=vrs))


def then(trace: Trace, second: int) -> int:
    """Value of a trace at the end of a second."""
    value = 0
    for time, changed in trace:
        if time <= second:
            value = changed
    return value


@dataclass
class TokenModel:
    """Every method that changes something takes the second and returns the expected (delegate, before, after)."""

    domain: Domain
    supply_trace: Trace
    balances: dict[str, int]
    allowances: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    delegates: dict[str, str] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    nonces: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    votes: dict[str, Trace] = field(default_factory=lambda: defaultdict(list))

    @property
    def supply(self) -> int:
        return self.supply_trace[-1][1]

    def votes_now(self, account: str) -> int:
        trace = self.votes[account]
        return trace[-1][1] if trace else 0

    def delegated_to(self, account: str) -> int:
        """Votes by their definition: the balances of all who delegated to an account."""
        return sum(self.balances[holder] for holder, chosen in self.delegates.items() if chosen == account)

    def transfer(self, now: int, owner: str, to: str, amount: int) -> Moves:
        refuse(to == ZERO, "erc20: transfer to the zero address")
        refuse(self.balances[owner] < amount, "erc20: transfer amount exceeds balance")
        self.balances[owner] -= amount
        self.balances[to] += amount
        return self._move(now, self.delegates[owner], self.delegates[to], amount)

    def transfer_from(self, now: int, sender: str, owner: str, to: str, amount: int) -> Moves:
        left = self._left(owner, sender, amount)
        moved = self.transfer(now, owner, to, amount)
        self.allowances[owner, sender] = left
        return moved

    def approve(self, now: int, owner: str, spender: str, amount: int) -> Moves:
        refuse(spender == ZERO, "erc20: approve to the zero address")
        self.allowances[owner, spender] = amount
        return []

    def burn(self, now: int, owner: str, amount: int) -> Moves:
        refuse(self.balances[owner] < amount, "erc20: burn amount exceeds balance")
        self.balances[owner] -= amount
        self.supply_trace.append((now, self.supply - amount))
        return self._move(now, self.delegates[owner], ZERO, amount)

    def burn_from(self, now: int, sender: str, owner: str, amount: int) -> Moves:
        left = self._left(owner, sender, amount)
        moved = self.burn(now, owner, amount)
        self.allowances[owner, sender] = left
        return moved

    def delegate(self, now: int, owner: str, to: str) -> Moves:
        before, self.delegates[owner] = self.delegates[owner], to
        return self._move(now, before, to, self.balances[owner])

    def permit(self, now: int, owner: str, spender: str, value: int, deadline: int, vrs: Vrs) -> Moves:
        refuse(now > deadline, "erc20: expired deadline")
        refuse(vrs[2] > HALF_N, "ecdsa: invalid signature `s` value")
        refuse(vrs[0] not in (27, 28), "ecdsa: invalid signature")
        message = self.domain.permit(owner, spender, value, self.nonces[owner], deadline)
        refuse(signer_of(message, vrs) != owner, "erc20: invalid signature")
        self.approve(now, owner, spender, value)
        self.nonces[owner] += 1
        return []

    def delegate_by_sig(self, now: int, delegatee: str, nonce: int, expiry: int, vrs: Vrs) -> Moves:
        """What was not signed for this token, chain and these values recovers a stranger, who holds nothing."""
        refuse(now > expiry, "token: signature expired")
        refuse(vrs[2] > HALF_N, "token: high s")
        refuse(vrs[0] not in (27, 28), "token: invalid signature")
        signer = signer_of(self.domain.delegation(delegatee, nonce, expiry), vrs)
        refuse(nonce != self.nonces[signer], "token: wrong nonce")
        self.balances.setdefault(signer, 0)
        self.nonces[signer] += 1
        return self.delegate(now, signer, delegatee)

    def _left(self, owner: str, spender: str, amount: int) -> int:
        allowed = self.allowances[owner, spender]
        if allowed == ENDLESS:
            return ENDLESS
        refuse(allowed < amount, "erc20: insufficient allowance")
        refuse(owner == ZERO, "erc20: approve from the zero address")
        refuse(spender == ZERO, "erc20: approve to the zero address")
        return allowed - amount

    def _move(self, now: int, giver: str, taker: str, amount: int) -> Moves:
        moved: Moves = []
        if giver == taker or amount == 0:
            return moved
        for account, change in ((giver, -amount), (taker, amount)):
            if account != ZERO:
                before = self.votes_now(account)
                self.votes[account].append((now, before + change))
                moved.append((account, before, before + change))
        return moved
