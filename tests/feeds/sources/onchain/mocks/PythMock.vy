# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# A Pyth contract of a single feed. Only for tests.

struct Price:
    price: int64
    conf: uint64
    expo: int32
    publishTime: uint256


FEED: immutable(bytes32)
price: Price


@deploy
def __init__(feed: bytes32):
    FEED = feed


@external
def say(price: int64, conf: uint64, expo: int32, publish_time: uint256):
    self.price = Price(price=price, conf=conf, expo=expo, publishTime=publish_time)


@external
@view
def getPriceUnsafe(feed: bytes32) -> Price:
    if feed != FEED:
        raw_revert(method_id("PriceFeedNotFound()"))
    return self.price
