# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# Stands where Slashing stands, and jails and slashes whom a test likes. Only for tests.

from interfaces import IStaking

staking: public(address)


@deploy
def __init__(staking: address):
    self.staking = staking


@external
def jail(owner: address, until: uint256, config: uint256):
    extcall IStaking(self.staking).jail(owner, until, config)


@external
def slash(owner: address, config: uint256, rate: uint256, reporter: address) -> uint256:
    return extcall IStaking(self.staking).slash(owner, config, rate, reporter)
