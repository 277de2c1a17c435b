# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Dodona's token: what validators bond
@license AGPL-3.0-only
@notice ERC-20 with permit (EIP-2612) and votes (ERC-5805) on the timestamp clock (ERC-6372). The whole supply is minted
        once, to the deployer; nobody can mint later.
@dev Built on snekmate's `erc20` and `ownable`, without exporting their minting and owner functions. snekmate's hooks
     cannot be overridden, so the four functions that move tokens are wrapped here, each moving the votes along.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from snekmate.auth import ownable
from snekmate.tokens import erc20

from . import checkpoints
from ..interfaces import IVotes

implements: IERC20
implements: IERC20Detailed
implements: IVotes
initializes: ownable
initializes: erc20[ownable := ownable]
initializes: checkpoints

exports: (
    erc20.approve,
    erc20.permit,
    erc20.nonces,
    erc20.DOMAIN_SEPARATOR,
    erc20.eip712Domain,
    erc20.balanceOf,
    erc20.allowance,
    erc20.totalSupply,
    erc20.name,
    erc20.symbol,
    erc20.decimals,
)

DELEGATION_TYPEHASH: constant(bytes32) = keccak256("Delegation(address delegatee,uint256 nonce,uint256 expiry)")
HALF_N: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

# Who votes with an account's tokens; zero: nobody.
delegates: public(HashMap[address, address])


@deploy
def __init__(supply: uint256):
    """
    @notice Mints the whole supply to the deployer and gives up every role.
    @param supply Number of the smallest units; at most 2**96 - 1, so that a stake always fits in a table row.
    """
    # CHECKS
    assert supply <= convert(max_value(uint96), uint256), "token: supply above 2**96 - 1"
    # EFFECTS
    ownable.__init__()
    erc20.__init__("Dodona", "DODO", 18, "Dodona", "1")
    erc20._mint(msg.sender, supply)
    checkpoints._push(checkpoints.TOTAL, supply)
    erc20.is_minter[msg.sender] = False
    ownable._transfer_ownership(empty(address))


# PERMISSIONLESS


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice Moves tokens of the caller (ERC-20), and their votes between the two delegates.
    @param to Receiver; not the zero address.
    @param amount Units, at most the caller's balance; 0 is allowed.
    @return Always True.
    """
    # EFFECTS
    erc20._transfer(msg.sender, to, amount)
    self._move_votes(self.delegates[msg.sender], self.delegates[to], amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    """
    @notice Moves tokens that their owner allowed the caller to move (ERC-20), and their votes.
    @param owner Whose tokens.
    @param to Receiver; not the zero address.
    @param amount Units, at most the owner's balance and the allowance; an allowance of 2**256 - 1 is never used up.
    @return Always True.
    """
    # CHECKS
    erc20._spend_allowance(owner, msg.sender, amount)
    # EFFECTS
    erc20._transfer(owner, to, amount)
    self._move_votes(self.delegates[owner], self.delegates[to], amount)
    return True


@external
def burn(amount: uint256):
    """
    @notice Destroys tokens of the caller; supply and votes fall for good.
    @param amount Units, at most the caller's balance.
    """
    # EFFECTS
    self._burn(msg.sender, amount)


@external
def burn_from(owner: address, amount: uint256):
    """
    @notice Destroys tokens that their owner allowed the caller to move.
    @param owner Whose tokens.
    @param amount Units, at most the owner's balance and the allowance.
    """
    # CHECKS
    erc20._spend_allowance(owner, msg.sender, amount)
    # EFFECTS
    self._burn(owner, amount)


@external
def delegate(delegatee: address):
    """
    @notice Lets another account vote with all that the caller holds, now and later.
    @param delegatee Who votes: the caller itself to vote in person, the zero address for nobody.
    """
    # EFFECTS
    self._delegate(msg.sender, delegatee)


@external
def delegateBySig(delegatee: address, nonce: uint256, expiry: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice `delegate` for whoever signed it (EIP-712), sent by anyone. The nonces are those of `permit`.
    @param delegatee Who votes.
    @param nonce The signer's present nonce.
    @param expiry Last second at which this is accepted.
    @param v Signature, 27 or 28.
    @param r Signature.
    @param s Signature, in the lower half of the curve's order (EIP-2).
    """
    # CHECKS
    assert block.timestamp <= expiry, "token: signature expired"
    assert convert(s, uint256) <= HALF_N, "token: high s"
    struct_hash: bytes32 = keccak256(abi_encode(DELEGATION_TYPEHASH, delegatee, nonce, expiry))
    digest: bytes32 = erc20.eip712_domain_separator._hash_typed_data_v4(struct_hash)
    signer: address = ecrecover(digest, v, r, s)
    assert signer != empty(address), "token: invalid signature"
    assert nonce == erc20.nonces[signer], "token: wrong nonce"
    # EFFECTS
    erc20.nonces[signer] = nonce + 1
    self._delegate(signer, delegatee)


# VIEW


@external
@view
def getVotes(account: address) -> uint256:
    """
    @notice Votes of an account now: the balances of all who delegated to it.
    @param account The delegate.
    @return Units of the token.
    """
    return checkpoints._latest(convert(account, bytes32))


@external
@view
def getPastVotes(account: address, timepoint: uint256) -> uint256:
    """
    @notice Votes of an account at the end of a past second.
    @param account The delegate.
    @param timepoint Seconds since 1970, before now.
    @return Units of the token.
    """
    assert timepoint < block.timestamp, "token: future lookup"
    return checkpoints._at(convert(account, bytes32), timepoint)


@external
@view
def getPastTotalSupply(timepoint: uint256) -> uint256:
    """
    @notice Total supply at the end of a past second, delegated or not.
    @param timepoint Seconds since 1970, before now.
    @return Units of the token.
    """
    assert timepoint < block.timestamp, "token: future lookup"
    return checkpoints._at(checkpoints.TOTAL, timepoint)


@external
@view
def clock() -> uint48:
    """
    @notice The clock by which votes are counted (ERC-6372): the timestamp.
    @return Seconds since 1970.
    """
    return convert(block.timestamp, uint48)


@external
@pure
def CLOCK_MODE() -> String[14]:
    """
    @notice Machine-readable name of the clock (ERC-6372).
    @return Always "mode=timestamp".
    """
    return "mode=timestamp"


# INTERNAL


@internal
def _burn(owner: address, amount: uint256):
    erc20._burn(owner, amount)
    checkpoints._push(checkpoints.TOTAL, erc20.totalSupply)
    self._move_votes(self.delegates[owner], empty(address), amount)


@internal
def _delegate(delegator: address, delegatee: address):
    before: address = self.delegates[delegator]
    self.delegates[delegator] = delegatee
    log IVotes.DelegateChanged(delegator=delegator, fromDelegate=before, toDelegate=delegatee)
    self._move_votes(before, delegatee, erc20.balanceOf[delegator])


@internal
def _move_votes(giver: address, taker: address, amount: uint256):
    # Logs what changes. The zero address stands for nobody on either side.
    if giver == taker or amount == 0:
        return
    if giver != empty(address):
        key: bytes32 = convert(giver, bytes32)
        votes: uint256 = checkpoints._latest(key)
        checkpoints._push(key, votes - amount)
        log IVotes.DelegateVotesChanged(delegate=giver, previousVotes=votes, newVotes=votes - amount)
    if taker != empty(address):
        key: bytes32 = convert(taker, bytes32)
        votes: uint256 = checkpoints._latest(key)
        checkpoints._push(key, votes + amount)
        log IVotes.DelegateVotesChanged(delegate=taker, previousVotes=votes, newVotes=votes + amount)
