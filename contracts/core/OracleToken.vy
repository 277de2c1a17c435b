# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Dodona's token: what validators bond
@license AGPL-3.0-only
@notice ERC-20 with permit (EIP-2612). The whole supply is minted once, to the deployer; nobody can mint later.
        Its clock is the timestamp (ERC-6372), ready for vote checkpoints.
@dev Built on snekmate's `erc20` and `ownable`, without exporting their minting and owner functions.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from snekmate.auth import ownable
from snekmate.tokens import erc20

implements: IERC20
implements: IERC20Detailed
initializes: ownable
initializes: erc20[ownable := ownable]

exports: (
    erc20.transfer,
    erc20.transferFrom,
    erc20.approve,
    erc20.permit,
    erc20.burn,
    erc20.burn_from,
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
    erc20.is_minter[msg.sender] = False
    ownable._transfer_ownership(empty(address))


# VIEW


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
