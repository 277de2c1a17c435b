# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title require: an assertion that takes less room
@license AGPL-3.0-only
@notice Staking is near the size that a chain accepts (EIP-170). An `assert` with a reason takes 115 bytes wherever it
        stands, this call about 68.
"""


@internal
@pure
def _that(holds: bool, reason: String[32]):
    """
    @notice Reverts with a reason.
    @param holds What has to be true.
    @param reason Why not: "contract: reason".
    """
    assert holds, reason
