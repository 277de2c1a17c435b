"""Contract functions: their call data, their outputs, and the reason of a revert.

Why this file exists: every word that a contract answers comes from outside; here it becomes a value of the declared
type or `OutputUnreadable`, nothing else. The codec is `eth_abi`, the one inside web3: of web3 this room needs no more
than that, and an answer that web3 would repair, warn about or retry is an error here. Never in it: network, prices.
Encoding: https://docs.soliditylang.org/en/latest/abi-spec.html
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from feeds.types import SECOND, Micros

MAX_OUTPUT = 8192
"""Most bytes of output that are looked at: the longest we ask for are a description and two short arrays."""
_ERROR, _PANIC = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
_PANICS = {0x01: "assertion failed", 0x11: "overflow", 0x12: "division by zero", 0x32: "index out of bounds"}
_NAMED = {
    keccak(f"{name}()".encode())[:4]: name
    for name in ("PriceFeedNotFound", "StalePrice", "PriceFeedNotFoundWithinRange", "InsufficientFee", "OLD", "NoData")
}


class OutputUnreadable(ValueError):
    """Bytes that are not of the declared types. Never leaves this room: the reader says which call it was."""


@dataclass(frozen=True, slots=True)
class Function:
    """A view function: `name`, and the ABI types of what goes in and what comes out, for example `uint8`.

    `outputs` may be fewer than the function has, if the ones left out stand behind.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    selector: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Work out the selector: the first four bytes of the hash of the signature."""
        object.__setattr__(self, "selector", keccak(self.signature.encode())[:4])

    @property
    def signature(self) -> str:
        """As it is hashed.

        >>> Function("getPriceUnsafe", ("bytes32",), ()).signature
        'getPriceUnsafe(bytes32)'
        """
        return f"{self.name}({','.join(self.inputs)})"

    def call_data(self, *arguments: object) -> bytes:
        """Selector and arguments. For values of ours only: eth_abi's own errors pass through.

        >>> Function("decimals", (), ("uint8",)).call_data().hex()
        '313ce567'
        """
        return self.selector + encode(self.inputs, arguments)

    def output(self, data: bytes) -> tuple[object, ...]:
        """The values in `data`. Raises OutputUnreadable."""
        if len(data) > MAX_OUTPUT:
            raise OutputUnreadable(f"{len(data)} bytes, at most {MAX_OUTPUT}")
        try:
            return tuple(decode(self.outputs, data))
        except (DecodingError, ValueError, OverflowError) as error:
            raise OutputUnreadable(type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class Block:
    """A block by `number` and `hash`, and its `timestamp` in seconds."""

    number: int
    hash: bytes
    timestamp: int

    @property
    def ts(self) -> Micros:
        """Its time as quotes state it."""
        return Micros(self.timestamp * SECOND)


@dataclass(frozen=True, slots=True)
class Call:
    """One question to one contract: `address` in hex, a function with its arguments, and `at`, None for the newest."""

    address: str
    function: Function
    arguments: tuple[object, ...] = ()
    at: Block | None = None

    @property
    def data(self) -> bytes:
        """Call data."""
        return self.function.call_data(*self.arguments)


def revert_reason(data: bytes) -> str:
    """What a contract said when it reverted, in one line of at most 120 printable characters.

    `Error(string)` and `Panic(uint256)` of Solidity and Vyper, a few custom errors by name, any other by its selector.

    >>> revert_reason(b"")
    'no reason given'
    """
    head, rest = data[:4], data[4:MAX_OUTPUT]
    if not data:
        return "no reason given"
    try:
        if head == _ERROR:
            (text,) = decode(["bytes"], rest)
            return printable(text.decode("utf-8", "replace"))
        if head == _PANIC:
            (code,) = decode(["uint256"], rest)
            return f"panic {code:#x} ({_PANICS.get(code, 'see the Solidity manual')})"
    except (DecodingError, ValueError, OverflowError):
        return f"unreadable reason 0x{data[:8].hex()}"
    return _NAMED.get(head, f"custom error 0x{head.hex()}")


def printable(text: str, most: int = 120) -> str:
    """`text` on one line, at most `most` characters, all printable."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * most])
    clean = " ".join(clean.split())
    return clean if len(clean) <= most else clean[: most - 3] + "..."
