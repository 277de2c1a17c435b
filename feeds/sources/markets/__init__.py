"""Prediction markets as sources of prices and of facts."""
