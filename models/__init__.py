"""Forecasts: features, model zoo, runtime, combination, scores. Imports feeds, never oracle."""
