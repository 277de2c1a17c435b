# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# All that a price needs of a token. Only for tests.

decimals: public(uint8)


@deploy
def __init__(decimals: uint8):
    self.decimals = decimals
