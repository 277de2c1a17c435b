"""The `backtest` fixture that every `ape test` (and plain pytest) run gets once Dodona is installed."""
