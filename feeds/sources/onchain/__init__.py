"""Prices that stand on an EVM chain: other oracles' feeds (AggregatorV3, Pyth) and pools' time-weighted means."""
