// SPDX-License-Identifier: AGPL-3.0-only
pragma solidity 0.8.30;

import {AggregatorV3Interface} from "@chainlink/contracts/src/v0.8/interfaces/AggregatorV3Interface.sol";

/// @title CheckedReader: a price with the checks that auditors ask for, written for AggregatorV3Interface and nothing else
/// @notice It knows no Dodona: what it takes from a Chainlink feed it must take from ours.
contract CheckedReader {
    AggregatorV3Interface public immutable feed;
    uint256 public immutable maxAge;
    uint256 private immutable scale;

    /// @param feed_ Any AggregatorV3Interface of at most 18 decimals.
    /// @param maxAge_ Seconds after which an answer is too old.
    constructor(AggregatorV3Interface feed_, uint256 maxAge_) {
        feed = feed_;
        maxAge = maxAge_;
        scale = 10 ** (18 - feed_.decimals());
    }

    /// @notice The newest price with 18 decimals; reverts where it fails a check.
    function price() external view returns (uint256) {
        (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound) =
            feed.latestRoundData();
        require(answer > 0, "reader: price not positive");
        require(startedAt != 0 && startedAt <= updatedAt && updatedAt <= block.timestamp, "reader: round not complete");
        require(answeredInRound >= roundId, "reader: answer carried over");
        require(block.timestamp - updatedAt <= maxAge, "reader: price too old");
        return uint256(answer) * scale;
    }

    /// @notice By how many basis points the newest price differs from the round before it: `roundId - 1`, as Liquity asks.
    function change() external view returns (int256) {
        (uint80 roundId, int256 answer,,,) = feed.latestRoundData();
        (uint80 before, int256 last,, uint256 updatedAt,) = feed.getRoundData(roundId - 1);
        require(before == roundId - 1 && updatedAt != 0, "reader: no round before");
        return ((answer - last) * 10_000) / last;
    }

    /// @notice The newest price, or 0 where the feed reverts, whatever it reverts with.
    function tryPrice() external view returns (uint256) {
        try feed.latestRoundData() returns (uint80, int256 answer, uint256, uint256, uint80) {
            return answer > 0 ? uint256(answer) * scale : 0;
        } catch {
            return 0;
        }
    }

    /// @notice The id of the oldest round that was stored at or after `second`, found by walking back.
    function firstSince(uint256 second) external view returns (uint80 found) {
        (uint80 roundId,,, uint256 updatedAt,) = feed.latestRoundData();
        while (updatedAt >= second) {
            found = roundId;
            try feed.getRoundData(roundId - 1) returns (uint80 id, int256, uint256, uint256 at, uint80) {
                (roundId, updatedAt) = (id, at);
            } catch {
                break;
            }
        }
    }
}
