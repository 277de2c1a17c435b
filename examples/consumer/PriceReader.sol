// SPDX-License-Identifier: AGPL-3.0-only
pragma solidity ^0.8.20;

/// What this reader asks of a Dodona feed: AggregatorV3's latestRoundData, and what tells whether to trust it.
interface IDodonaFeed {
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    function status() external view returns (uint256);
    function flags() external view returns (uint8);
    function confidence() external view returns (uint256);
    function latestVector() external view returns (uint256 roundId, int256[] memory components);
}

/// @title PriceReader: how a contract reads a Dodona price and its forecast
/// @notice Checks what the plain Feed leaves to its reader: that nothing speaks against the newest round, that the price
///         is positive and young, that no flag warns of disagreement.
contract PriceReader {
    // Set by the network when validators or sources lie far apart, or when the price jumped.
    uint8 private constant FLAG_DISPERSION = 4;
    uint8 private constant FLAG_JUMP = 8;

    IDodonaFeed public immutable priceFeed;
    IDodonaFeed public immutable forecastFeed;
    uint256 public immutable maxAge;

    error NotReliable(address feed, uint256 status);
    error StaleFeed(address feed, uint256 updatedAt);
    error PriceNotPositive(int256 answer);
    error FlaggedPrice(uint8 flags);

    /// @param price_ The price feed.
    /// @param forecast_ The forecast feed of the same pair.
    /// @param maxAge_ Seconds after which an answer is too old: choose the feed's heartbeat and a little more.
    constructor(IDodonaFeed price_, IDodonaFeed forecast_, uint256 maxAge_) {
        priceFeed = price_;
        forecastFeed = forecast_;
        maxAge = maxAge_;
    }

    /// @notice The price and its confidence, both at the feed's decimals, if the price can be trusted now.
    function price() external view returns (uint256 answer, uint256 confidence) {
        int256 signed = _fresh(priceFeed);
        if (signed <= 0) revert PriceNotPositive(signed);
        uint8 flags = priceFeed.flags();
        if (flags & (FLAG_DISPERSION | FLAG_JUMP) != 0) revert FlaggedPrice(flags);
        return (uint256(signed), priceFeed.confidence());
    }

    /// @notice Between which log returns (1e-6), to the forecast's horizon, 90 % of outcomes are expected.
    function range90() external view returns (int256 low, int256 high) {
        _fresh(forecastFeed);
        (, int256[] memory quantiles) = forecastFeed.latestVector();
        return (quantiles[1], quantiles[7]);
    }

    function _fresh(IDodonaFeed feed) private view returns (int256) {
        // Stale by the network's own measure, INVALID, paused, behind a sequencer that is down, retired.
        uint256 status = feed.status();
        if (status != 0) revert NotReliable(address(feed), status);
        (, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        if (block.timestamp - updatedAt > maxAge) revert StaleFeed(address(feed), updatedAt);
        return answer;
    }
}
