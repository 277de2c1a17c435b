# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Masks of the packed words
@license AGPL-3.0-only
@notice Constants only. The layouts are told where they are used.
"""

MASK_16: constant(uint256) = 2**16 - 1
MASK_31: constant(uint256) = 2**31 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_40: constant(uint256) = 2**40 - 1
MASK_64: constant(uint256) = 2**64 - 1
MASK_96: constant(uint256) = 2**96 - 1
MASK_160: constant(uint256) = 2**160 - 1
MASK_255: constant(uint256) = 2**255 - 1
