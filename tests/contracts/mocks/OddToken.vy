# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# An ERC-20 with the bad manners that a consumer must survive. Only for tests.

decimals: public(uint8)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
refuses: public(bool)
fee: public(uint256)
target: address
payload: Bytes[260]


@deploy
def __init__(decimals: uint8):
    self.decimals = decimals


@external
def misbehave(refuses: bool, fee: uint256, target: address, payload: Bytes[260]):
    self.refuses = refuses
    self.fee = fee
    self.target = target
    self.payload = payload


@external
def act(target: address, payload: Bytes[260]):
    raw_call(target, payload)


@external
def mint(to: address, amount: uint256):
    self.balanceOf[to] += amount


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    return True


@external
def transfer(to: address, amount: uint256) -> bool:
    return self._move(msg.sender, to, amount)


@external
def transferFrom(sender: address, to: address, amount: uint256) -> bool:
    self.allowance[sender][msg.sender] -= amount
    return self._move(sender, to, amount)


@internal
def _move(sender: address, to: address, amount: uint256) -> bool:
    if self.refuses:
        return False
    if self.target != empty(address):
        target: address = self.target
        self.target = empty(address)
        raw_call(target, self.payload)
    self.balanceOf[sender] -= amount
    self.balanceOf[to] += amount - self.fee
    return True
