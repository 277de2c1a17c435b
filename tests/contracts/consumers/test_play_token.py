"""The token of the reference consumers moves what its holder has and allowed, and nothing else."""

from __future__ import annotations


def test_transfer__more_than_held_or_allowed__reverts_with_the_reason(bench):
    token = bench.deploy("PlayToken", "Play", "PLAY", 6)
    holder, other, spender = bench.accounts[:3]
    bench.send(token.functions.mint(holder, 100))
    bench.reverts(token.functions.transfer(other, 101), "token: balance too small$")
    bench.send(token.functions.transfer(other, 40))
    bench.send(token.functions.approve(spender, 100))
    bench.reverts(token.functions.transferFrom(holder, other, 61), "token: balance too small$", sender=2)
    bench.send(token.functions.transferFrom(holder, other, 60), sender=2)
    assert [token.functions.balanceOf(who).call() for who in (holder, other)] == [0, 100]
    bench.send(token.functions.mint(holder, 100))
    bench.reverts(token.functions.transferFrom(holder, other, 41), "token: allowance too small$", sender=2)
    assert token.functions.allowance(holder, spender).call() == 40


def test_token__named_and_minted__says_so(bench):
    token = bench.deploy("PlayToken", "Play", "PLAY", 6)
    bench.send(token.functions.mint(bench.accounts[1], 7))
    calls = token.functions
    told = [calls.name().call(), calls.symbol().call(), calls.decimals().call(), calls.totalSupply().call()]
    assert told == ["Play", "PLAY", 6, 7]
