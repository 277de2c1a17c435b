// SPDX-License-Identifier: AGPL-3.0-only
pragma solidity ^0.8.20;

/// What a verified report says of one feed.
struct Payload {
    uint256 number;
    uint256 slot;
    uint256 observedAt;
    int256 value;
    uint256 confidence;
    uint256 turnout;
    uint256 flags;
    uint256 vector;
}

interface IDodonaAggregator {
    function verify(bytes calldata report, uint256 number, uint256 maxAge) external view returns (Payload memory);
    function update_and_read(bytes calldata report, uint256 number, uint256 maxAge) external returns (Payload memory);
    function verifyHistoric(bytes calldata report, uint256 number) external view returns (Payload memory);
}

/// @title PullReader: how a contract takes a Dodona report that its caller brings
/// @notice A fresh price for one transaction, without and with storing it; and the price of a past moment, for a
///         settlement. The caller can choose the report but not the value.
contract PullReader {
    // Time after the expiry in which anyone may bring an earlier report; less than half of Staking's evidenceSeconds().
    uint256 private constant WINDOW = 3600;

    IDodonaAggregator public immutable aggregator;
    uint256 public immutable number;
    uint256 public immutable maxAge;
    uint256 public immutable expiry;

    uint256 public slot;
    int256 private settled;

    error WindowIsOver();
    error BeforeTheExpiry(uint256 observedAt);
    error NotEarlier(uint256 slot);
    error NotSettled();

    constructor(IDodonaAggregator aggregator_, uint256 number_, uint256 maxAge_, uint256 expiry_) {
        aggregator = aggregator_;
        number = number_;
        maxAge = maxAge_;
        expiry = expiry_;
    }

    /// @notice The price in a report; nothing is stored.
    function price(bytes calldata report) external view returns (int256) {
        return aggregator.verify(report, number, maxAge).value;
    }

    /// @notice Stores a report for everyone, then reads the newest price; a report that came late does no harm.
    function updatedPrice(bytes calldata report) external returns (int256) {
        return aggregator.update_and_read(report, number, maxAge).value;
    }

    /// @notice Shows a report from the expiry or later; of several the earliest counts.
    function settle(bytes calldata report) external {
        if (block.timestamp >= expiry + WINDOW) revert WindowIsOver();
        Payload memory found = aggregator.verifyHistoric(report, number);
        if (found.observedAt < expiry) revert BeforeTheExpiry(found.observedAt);
        if (slot != 0 && found.slot >= slot) revert NotEarlier(found.slot);
        slot = found.slot;
        settled = found.value;
    }

    /// @notice The price at the expiry, once nobody can bring an earlier report any more.
    function settlement() external view returns (int256) {
        if (block.timestamp < expiry + WINDOW || slot == 0) revert NotSettled();
        return settled;
    }
}
