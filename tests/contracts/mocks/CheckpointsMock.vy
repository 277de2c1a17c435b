# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# The checkpoint module with its inside turned out. Only for tests.

from core import checkpoints

initializes: checkpoints


@external
def push(key: bytes32, amount: uint256):
    checkpoints._push(key, amount)


@external
def push_many(keys: DynArray[bytes32, 8], amounts: DynArray[uint256, 8]):
    for place: uint256 in range(len(keys), bound=8):
        checkpoints._push(keys[place], amounts[place])


@external
@view
def latest(key: bytes32) -> uint256:
    return checkpoints._latest(key)


@external
@view
def at(key: bytes32, time: uint256) -> uint256:
    return checkpoints._at(key, time)


@external
@view
def length(key: bytes32) -> uint256:
    return len(checkpoints.traces[key])


@external
@view
def point(key: bytes32, place: uint256) -> uint256:
    return checkpoints.traces[key][place]


@external
@view
def history(key: bytes32, start: uint256, count: uint256) -> DynArray[uint256, 512]:
    values: DynArray[uint256, 512] = []
    for step: uint256 in range(count, bound=512):
        values.append(checkpoints._at(key, start + step))
    return values
