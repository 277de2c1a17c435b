# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# Staking, Configurator and Aggregator in one, as Slashing sees them, with any table a test likes. Only for tests.
# Jail revokes every key that the owner has had so far; a later table may hold a fresh one.

from interfaces import IAggregator

event Jailed:
    owner: indexed(address)
    until: uint256
    config: uint256


event Slashed:
    owner: indexed(address)
    config: uint256
    rate: uint256
    reporter: address


evidenceSeconds: public(uint256)
aggregator: public(address)
configurator: public(address)
configCount: public(uint256)
configs: HashMap[uint256, IAggregator.Config]
tables: HashMap[uint256, DynArray[IAggregator.Row, 64]]
owners: HashMap[address, address]
keys: HashMap[address, DynArray[address, 8]]
keyRevokedAt: public(HashMap[address, uint256])


@deploy
def __init__(evidence_seconds: uint256):
    self.evidenceSeconds = evidence_seconds
    self.aggregator = self
    self.configurator = self


@external
def add(config: IAggregator.Config, rows: DynArray[IAggregator.Row, 64], owners: DynArray[address, 64]):
    self.configCount += 1
    self.configs[self.configCount] = config
    self.tables[self.configCount] = rows
    for i: uint256 in range(len(rows), bound=64):
        self.owners[rows[i].key] = owners[i]
        if rows[i].key not in self.keys[owners[i]]:
            self.keys[owners[i]].append(rows[i].key)


@external
def setRevoked(key: address, time: uint256):
    self.keyRevokedAt[key] = time


@external
def setAggregator(aggregator: address):
    self.aggregator = aggregator


@external
@view
def configOf(count: uint256) -> IAggregator.Config:
    assert count != 0 and count <= self.configCount, "mock: unknown config"
    return self.configs[count]


@external
@view
def table(count: uint256) -> DynArray[IAggregator.Row, 64]:
    return self.tables[count]


@external
@view
def ownerOf(key: address) -> address:
    return self.owners[key]


@external
def jail(owner: address, until: uint256, config: uint256):
    for key: address in self.keys[owner]:
        if self.keyRevokedAt[key] == 0:
            self.keyRevokedAt[key] = block.timestamp
    log Jailed(owner=owner, until=until, config=config)


@external
def slash(owner: address, config: uint256, rate: uint256, reporter: address) -> uint256:
    log Slashed(owner=owner, config=config, rate=rate, reporter=reporter)
    return rate
