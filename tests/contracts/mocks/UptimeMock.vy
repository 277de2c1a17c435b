# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# A sequencer's uptime feed that says, or fails, as a test wants. Only for tests.

answer: int256
since: uint256
silent: bool


@external
def say(answer: int256, since: uint256):
    self.answer = answer
    self.since = since


@external
def fall_silent():
    self.silent = True


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    assert not self.silent, "uptime: silent"
    return 1, self.answer, self.since, self.since, 1
