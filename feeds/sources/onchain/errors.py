"""How reading a chain fails: all of it is `SourceUnavailable`, one class for each rule broken.

Why this file exists: an RPC is run by somebody else, and an address in a settings file is typed by hand; whoever reads
the error must see at once which of the two to mend. What is no JSON-RPC, or not of the types that a contract declares,
is `MalformedAnswer`, as everywhere. No text here carries an RPC's path, query or user, where keys hide. Never in it:
network, decoding.

    SourceUnavailable
    ├── WrongChain       the RPC serves another chain than the settings say
    ├── ChainStill       the newest block is too old, or lies ahead of our clock
    ├── BlockGone        the block was reorganised away while it was read
    ├── RpcRefused       the RPC answered with an error
    ├── NoContract       nothing at this address answers
    ├── CallReverted     the contract refused the call
    ├── WrongContract    the contract is not the one that the settings describe
    ├── WindowTooLong    a pool remembers less than the window asked for
    └── SequencerDown    the rollup's sequencer is down, or was a moment ago
"""

from __future__ import annotations

from feeds.sources.source import SourceUnavailable


class _Fault(SourceUnavailable):
    """A `SourceUnavailable` with a mend of its own."""

    def __init__(self, source: str, reason: str, mend: str) -> None:
        super().__init__(source, reason)
        self.args = (f"source {source}: {reason}; {mend}",)


class WrongChain(_Fault):
    """The RPC serves chain `given`, the settings say `wanted`."""

    def __init__(self, source: str, given: int, wanted: int) -> None:
        """Keep both chain ids."""
        self.given, self.wanted = given, wanted
        super().__init__(source, f"the RPC serves chain {given}, the settings say {wanted}", "mend rpc_url or chain_id")


class ChainStill(_Fault):
    """The newest block, at `timestamp` (seconds), is `age` seconds old (negative: ahead); `limit` is allowed."""

    def __init__(self, source: str, number: int, age: float, limit: float) -> None:
        """Keep the block's number, its age and the limit broken, in seconds."""
        self.number, self.age, self.limit = number, age, limit
        if age < 0:
            reason = f"its newest block {number} is {-age:.0f} s ahead of this clock, limit {limit:g}"
            super().__init__(source, reason, "set this machine's clock, or use another RPC")
        else:
            reason = f"its newest block {number} is {age:.0f} s old, limit {limit:g}"
            super().__init__(source, reason, "use another RPC, or raise max_head_age_s")


class BlockGone(_Fault):
    """Block `number` was pinned, and is another one now."""

    def __init__(self, source: str, number: int) -> None:
        """Keep the block's number."""
        self.number = number
        super().__init__(
            source, f"block {number} was reorganised away while it was read", "raise confirmations if it lasts"
        )


class RpcRefused(_Fault):
    """The RPC answered `method` with the error `code` and `said` (cleaned of keys)."""

    def __init__(self, source: str, method: str, code: int, said: str, mend: str = "") -> None:
        """Keep the method, the code and the words."""
        self.method, self.code, self.said = method, code, said
        super().__init__(source, f"the RPC refused {method} ({code}: {said})", mend or "check its key and its limits")


class NoContract(_Fault):
    """Nothing at `address` answers `function`."""

    def __init__(self, source: str, address: str, function: str) -> None:
        """Keep the address and the function asked for."""
        self.address, self.function = address, function
        super().__init__(source, f"{address} does not answer {function}", "mend the address, or chain_id")


class CallReverted(_Fault):
    """`function` of `address` reverted with `why` (decoded)."""

    def __init__(self, source: str, address: str, function: str, why: str, mend: str = "") -> None:
        """Keep the address, the function and the contract's reason."""
        self.address, self.function, self.why = address, function, why
        mend = mend or "check that the address is of this kind of source"
        super().__init__(source, f"{function} of {address} reverted: {why}", mend)


class WrongContract(_Fault):
    """`what` of the contract is `given`, the settings say `wanted`."""

    def __init__(self, source: str, what: str, given: object, wanted: object) -> None:
        """Keep what differs, and both values."""
        self.what, self.given, self.wanted = what, given, wanted
        super().__init__(source, f"{what} is {given}, the settings say {wanted}", "mend the address or the settings")


class WindowTooLong(_Fault):
    """The pool `address` holds `cardinality` observations, which do not reach `window` seconds back."""

    def __init__(self, source: str, address: str, window: int, cardinality: int) -> None:
        """Keep the pool, the window in seconds and the number of observations that it holds."""
        self.address, self.window, self.cardinality = address, window, cardinality
        mend = "shorten window_s, or send increaseObservationCardinalityNext to the pool (anyone may) and wait"
        super().__init__(source, f"pool {address} keeps {cardinality} observations, too few for {window} s", mend)


class SequencerDown(_Fault):
    """The sequencer is down, or has been up for `up_for` seconds only, of `grace` asked for (both None: it is down)."""

    def __init__(self, source: str, up_for: int | None = None, grace: int | None = None) -> None:
        """Keep since when it is up, and the grace, in seconds."""
        self.up_for, self.grace = up_for, grace
        state = "is down" if up_for is None else f"has been up for {up_for} s only, grace {grace} s"
        super().__init__(source, f"the rollup's sequencer {state}", "wait: prices count again when the grace is over")
