# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# Everything that a token says of some accounts, in one call. Only for tests.

from interfaces import IVotes
from ethereum.ercs import IERC20


interface INonces:
    def nonces(owner: address) -> uint256: view


struct Holder:
    balance: uint256
    votes: uint256
    nonce: uint256
    allowed: uint256
    delegated: address


@external
@view
def look(token: address, people: DynArray[address, 8], spender: address) -> (uint256, DynArray[Holder, 8]):
    holders: DynArray[Holder, 8] = []
    for one: address in people:
        holders.append(
            Holder(
                balance=staticcall IERC20(token).balanceOf(one),
                votes=staticcall IVotes(token).getVotes(one),
                nonce=staticcall INonces(token).nonces(one),
                allowed=staticcall IERC20(token).allowance(one, spender),
                delegated=staticcall IVotes(token).delegates(one),
            )
        )
    return staticcall IERC20(token).totalSupply(), holders
