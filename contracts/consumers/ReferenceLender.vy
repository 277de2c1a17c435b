# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title ReferenceLender: lends against one collateral, as much as the forecast allows
@license AGPL-3.0-only
@notice Lends up to (1 - bonus - buffer) * exp(q) of the collateral's value, where q is the 1 % quantile of the 24 h
        log return, read from a forecast feed; liquidates above 1 - bonus - buffer. The room between the two is what
        the forecast says that one bad day takes, so it widens before the storm that the models see and no earlier.
        Interest is zero. One lender, the deployer, provides the debt token.
@dev A reference: it shows which checks a reader of our feeds makes, and keeps exact books. Every division rounds
     against the borrower. Works with standard ERC-20s; a token that takes a fee or answers false is refused.
     Books: cash + totalDebt + badDebt = funded; totalDebt and totalCollateral are the sums of their accounts.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from snekmate.utils import math

from .. import constants
from ..interfaces import IFeed
from . import exact_transfer
from . import feed_reader


event Funded:
    amount: uint256


event Defunded:
    amount: uint256


event Deposited:
    account: indexed(address)
    amount: uint256


event Withdrawn:
    account: indexed(address)
    amount: uint256


event Borrowed:
    account: indexed(address)
    amount: uint256
    loanToValue: uint256


event Repaid:
    account: indexed(address)
    payer: indexed(address)
    amount: uint256


event Liquidated:
    account: indexed(address)
    liquidator: indexed(address)
    repaid: uint256
    seized: uint256
    badDebt: uint256


WAD: constant(uint256) = 10**18
MICRO: constant(int256) = 10**12
HORIZON: constant(uint256) = 86_400

LENDER: public(immutable(address))
COLLATERAL: public(immutable(IERC20))
DEBT: public(immutable(IERC20))
PRICE_FEED: public(immutable(IFeed))
FORECAST_FEED: public(immutable(IFeed))
BONUS_BPS: public(immutable(uint256))
BUFFER_BPS: public(immutable(uint256))
# Seconds that a feed may be late beyond its own heartbeat.
GRACE: public(immutable(uint256))
# 1 - bonus - buffer, in 1e-18: debt above this share of the collateral's value can be liquidated.
LIQUIDATION_THRESHOLD: public(immutable(uint256))
# Value in debt units = collateral * price * SCALE_UP / SCALE_DOWN.
SCALE_UP: immutable(uint256)
SCALE_DOWN: immutable(uint256)

# What the lender put in and did not take back.
funded: public(uint256)
# Debt tokens here that nobody has borrowed.
cash: public(uint256)
# Debt that no collateral stood behind when it was liquidated: lost for good, in debt units.
badDebt: public(uint256)
totalDebt: public(uint256)
totalCollateral: public(uint256)
debtOf: public(HashMap[address, uint256])
collateralOf: public(HashMap[address, uint256])


@deploy
def __init__(
    collateral: IERC20,
    debt: IERC20,
    price: IFeed,
    forecast: IFeed,
    bonus_bps: uint256,
    buffer_bps: uint256,
    grace: uint256,
):
    """
    @notice Sets the terms for ever; the deployer becomes the lender.
    @param collateral Token that is pledged: the base asset of both feeds.
    @param debt Token that is lent: the quote asset of both feeds.
    @param price Price feed of collateral in debt.
    @param forecast Feed of the quantiles of the 24 h log return of the same pair.
    @param bonus_bps What a liquidator earns, in basis points of what it repays.
    @param buffer_bps Kept against the time between the crossing and the liquidation, in basis points.
    @param grace Seconds that a feed may be late beyond its own heartbeat.
    """
    # CHECKS
    assert collateral.address != debt.address, "lender: same token twice"
    assert bonus_bps + buffer_bps < constants.BPS, "lender: nothing left to lend"
    assert convert(staticcall price.kind(), uint256) == constants.KIND_PRICE, "lender: not a price feed"
    assert convert(staticcall forecast.kind(), uint256) == constants.KIND_FORECAST, "lender: not a forecast feed"
    assert staticcall forecast.horizon() == HORIZON, "lender: horizon is not 24 h"
    assert staticcall forecast.decimals() == 6, "lender: forecast not in 1e-6"
    same: bool = staticcall price.base() == staticcall forecast.base()
    assert same and staticcall price.quote() == staticcall forecast.quote(), "lender: feeds of two pairs"
    collateral_decimals: uint256 = convert(staticcall IERC20Detailed(collateral.address).decimals(), uint256)
    debt_decimals: uint256 = convert(staticcall IERC20Detailed(debt.address).decimals(), uint256)
    assert max(collateral_decimals, debt_decimals) <= 18, "lender: more than 18 decimals"
    # EFFECTS
    LENDER = msg.sender
    COLLATERAL = collateral
    DEBT = debt
    PRICE_FEED = price
    FORECAST_FEED = forecast
    BONUS_BPS = bonus_bps
    BUFFER_BPS = buffer_bps
    GRACE = grace
    LIQUIDATION_THRESHOLD = (constants.BPS - bonus_bps - buffer_bps) * (WAD // constants.BPS)
    SCALE_UP = 10 ** debt_decimals
    SCALE_DOWN = 10 ** (collateral_decimals + convert(staticcall price.decimals(), uint256))


# PERMISSIONLESS


@external
@nonreentrant
def deposit(amount: uint256):
    """
    @notice Pledges collateral for the caller.
    @param amount Units of the collateral token; the books hold at most 2**128 - 1 in all.
    """
    # CHECKS
    assert amount != 0, "lender: zero amount"
    assert self.totalCollateral + amount < 2**128, "lender: too much collateral"
    # EFFECTS
    self.collateralOf[msg.sender] += amount
    self.totalCollateral += amount
    # INTERACTIONS
    exact_transfer._pull(COLLATERAL, amount)
    # LOG
    log Deposited(account=msg.sender, amount=amount)


@external
@nonreentrant
def withdraw(amount: uint256):
    """
    @notice Takes collateral back. With debt left, the rest must still carry it as if it were borrowed now.
            Without debt no feed is read, so collateral is never held back by one.
    @param amount Units of the collateral token.
    """
    # CHECKS
    assert amount != 0, "lender: zero amount"
    assert amount <= self.collateralOf[msg.sender], "lender: more than pledged"
    # EFFECTS
    self.collateralOf[msg.sender] -= amount
    self.totalCollateral -= amount
    if self.debtOf[msg.sender] != 0:
        assert self.debtOf[msg.sender] <= self._limit(msg.sender, self._loan_to_value()), "lender: undercollateralised"
    # INTERACTIONS
    exact_transfer._push(COLLATERAL, msg.sender, amount)
    # LOG
    log Withdrawn(account=msg.sender, amount=amount)


@external
@nonreentrant
def borrow(amount: uint256):
    """
    @notice Borrows against the caller's collateral, up to the loan-to-value that the forecast allows now.
    @param amount Units of the debt token.
    """
    # CHECKS
    assert amount != 0, "lender: zero amount"
    assert amount <= self.cash, "lender: not enough cash"
    ratio: uint256 = self._loan_to_value()
    debt: uint256 = self.debtOf[msg.sender] + amount
    assert debt <= self._limit(msg.sender, ratio), "lender: undercollateralised"
    # EFFECTS
    self.debtOf[msg.sender] = debt
    self.totalDebt += amount
    self.cash -= amount
    # INTERACTIONS
    exact_transfer._push(DEBT, msg.sender, amount)
    # LOG
    log Borrowed(account=msg.sender, amount=amount, loanToValue=ratio)


@external
@nonreentrant
def repay(account: address, amount: uint256):
    """
    @notice Repays debt of an account, by anyone. No feed is read: a debt can always be repaid.
    @param account Whose debt.
    @param amount Units of the debt token, at most the debt.
    """
    # CHECKS
    assert amount != 0, "lender: zero amount"
    assert amount <= self.debtOf[account], "lender: more than owed"
    # EFFECTS
    self.debtOf[account] -= amount
    self.totalDebt -= amount
    self.cash += amount
    # INTERACTIONS
    exact_transfer._pull(DEBT, amount)
    # LOG
    log Repaid(account=account, payer=msg.sender, amount=amount)


@external
@nonreentrant
def liquidate(account: address, amount: uint256) -> (uint256, uint256):
    """
    @notice Repays debt of an account above the threshold and takes collateral of that value plus the bonus. Where the
            collateral does not reach, all of it is taken for what it is worth, and the rest of the debt is bad debt.
    @param account Whose debt.
    @param amount Most that the caller repays; more than the debt counts as all of it.
    @return repaid Units of the debt token paid by the caller.
    @return seized Units of collateral given to the caller.
    """
    # CHECKS
    assert amount != 0, "lender: zero amount"
    debt: uint256 = self.debtOf[account]
    pledged: uint256 = self.collateralOf[account]
    price: uint256 = self._price()
    assert debt > self._share(pledged, price, LIQUIDATION_THRESHOLD), "lender: healthy"
    with_bonus: uint256 = constants.BPS + BONUS_BPS
    repaid: uint256 = min(amount, debt)
    seized: uint256 = math._mul_div(repaid * with_bonus, SCALE_DOWN, price * SCALE_UP * constants.BPS, False)
    lost: uint256 = 0
    if seized > pledged:
        seized = pledged
        repaid = math._mul_div(pledged * price, SCALE_UP * constants.BPS, SCALE_DOWN * with_bonus, True)
    if seized == pledged:
        lost = debt - repaid
    # EFFECTS
    self.debtOf[account] = debt - repaid - lost
    self.collateralOf[account] = pledged - seized
    self.totalDebt -= repaid + lost
    self.totalCollateral -= seized
    self.cash += repaid
    self.badDebt += lost
    # INTERACTIONS
    exact_transfer._pull(DEBT, repaid)
    exact_transfer._push(COLLATERAL, msg.sender, seized)
    # LOG
    log Liquidated(account=account, liquidator=msg.sender, repaid=repaid, seized=seized, badDebt=lost)
    return repaid, seized


# VIEW


@external
@view
def loanToValue() -> uint256:
    """
    @notice Largest debt over collateral value at which a loan may be opened now.
    @return Share in 1e-18, at most the liquidation threshold. Reverts where a forecast cannot be trusted.
    """
    return self._loan_to_value()


@external
@view
def borrowable(account: address) -> uint256:
    """
    @notice What the account may still borrow now, as far as its collateral goes.
    @param account Whose.
    @return Units of the debt token. Reverts where a feed cannot be trusted.
    """
    limit: uint256 = self._limit(account, self._loan_to_value())
    return limit - min(limit, self.debtOf[account])


@external
@view
def collateralValue(account: address) -> uint256:
    """
    @notice What the account's collateral is worth, rounded down.
    @param account Whose.
    @return Units of the debt token. Reverts where the price cannot be trusted.
    """
    return self._share(self.collateralOf[account], self._price(), WAD)


@external
@view
def liquidatable(account: address) -> bool:
    """
    @notice Whether the account's debt is above the liquidation threshold.
    @param account Whose.
    @return True if `liquidate` would work now. Reverts where the price cannot be trusted.
    """
    return self.debtOf[account] > self._limit(account, LIQUIDATION_THRESHOLD)


# ROLE


@external
@nonreentrant
def fund(amount: uint256):
    """
    @notice Puts in debt tokens to lend; only the lender.
    @param amount Units of the debt token; at most 2**128 - 1 in all.
    """
    # CHECKS
    assert msg.sender == LENDER, "lender: only the lender"
    assert amount != 0, "lender: zero amount"
    assert self.funded + amount < 2**128, "lender: too much debt"
    # EFFECTS
    self.funded += amount
    self.cash += amount
    # INTERACTIONS
    exact_transfer._pull(DEBT, amount)
    # LOG
    log Funded(amount=amount)


@external
@nonreentrant
def defund(amount: uint256):
    """
    @notice Takes back what is not lent out; only the lender.
    @param amount Units of the debt token.
    """
    # CHECKS
    assert msg.sender == LENDER, "lender: only the lender"
    assert amount != 0, "lender: zero amount"
    assert amount <= self.cash, "lender: not enough cash"
    # EFFECTS
    self.funded -= amount
    self.cash -= amount
    # INTERACTIONS
    exact_transfer._push(DEBT, msg.sender, amount)
    # LOG
    log Defunded(amount=amount)


# INTERNAL


@internal
@view
def _price() -> uint256:
    answer: int256 = feed_reader._fresh(PRICE_FEED, GRACE).answer
    assert answer > 0, "lender: price not positive"
    return convert(answer, uint256)


@internal
@view
def _loan_to_value() -> uint256:
    newest: feed_reader.Reading = feed_reader._fresh(FORECAST_FEED, GRACE)
    quantiles: DynArray[int256, 16] = staticcall FORECAST_FEED.vector(newest.round)
    assert len(quantiles) == 9 and quantiles[0] <= newest.answer, "lender: not nine quantiles in order"
    # A 1 % quantile above zero does not make a loan safer than the threshold itself.
    fall: int256 = min(quantiles[0], 0) * MICRO
    return math._mul_div(LIQUIDATION_THRESHOLD, convert(math._wad_exp(fall), uint256), WAD, False)


@internal
@view
def _limit(account: address, ratio: uint256) -> uint256:
    return self._share(self.collateralOf[account], self._price(), ratio)


@internal
@view
def _share(amount: uint256, price: uint256, ratio: uint256) -> uint256:
    """
    @dev `ratio` (1e-18) of what `amount` of collateral is worth, in debt units, rounded down once.
    """
    return math._mul_div(amount * price, SCALE_UP * ratio, SCALE_DOWN * WAD, False)
