"""Replays of recorded prices through the whole system in one process: what the `backtest` fixture runs.

Why this room exists: a modeller wants to know within seconds what a bundle would have done on chain. Sources, fusion,
panel, signed messages in their wire format, the round, the contracts on an embedded chain: all real. Only sockets,
processes and journals are left out (`dodona demo` has those).
"""

from oracle.backtest.engine import replay
from oracle.backtest.plan import BacktestError, Plan
from oracle.backtest.result import BacktestResult

__all__ = ["BacktestError", "BacktestResult", "Plan", "replay"]
