"""A JSON-RPC node that says what a test wrote down: the wire format without a virtual machine behind it.

Its newest block follows a clock; a block's hash follows from its number and `fork`, so that a test can reorganise it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from feeds.sources.onchain.abi import Function

Words = Callable[[int], tuple[object, ...]]
"""From a block's timestamp to a function's outputs."""
BLOCK_S = 12


class Revert(Exception):
    """A scripted function raises it: `data` is what the contract reverts with."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class ScriptedChain:
    """`say` gives a function of an address its answers; `node` is the HTTP handler for `HostileServer`."""

    def __init__(self, now: Callable[[], int], chain_id: int = 1) -> None:
        self.now, self.chain_id = now, chain_id
        self.fork = b""
        self.batches = 0
        self._says: dict[tuple[str, str], tuple[tuple[str, ...], Words]] = {}

    def say(self, address: str, function: Function, words: Words, types: tuple[str, ...] = ()) -> None:
        """Let `function` of `address` answer `words` (encoded as its outputs, or as `types`)."""
        self._says[address.lower(), function.selector.hex()] = (types or function.outputs, words)

    def words(self, address: str, function: Function, second: int) -> tuple[object, ...]:
        """What `function` of `address` answers in a block of this second."""
        return self._says[address.lower(), function.selector.hex()][1](second)

    def block(self, number: int) -> dict[str, str] | None:
        """Block object of the execution API, as far as it matters."""
        if not 0 <= number <= self.now() // BLOCK_S:
            return None
        digest = self._salt() + number.to_bytes(8, "big")
        return {
            "number": hex(number),
            "hash": "0x" + digest.hex(),
            "timestamp": hex(number * BLOCK_S),
            "gasUsed": "0x0",
        }

    def _salt(self) -> bytes:
        return keccak(self.fork)[:24]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One JSON-RPC answer."""
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            return {**reply, "result": self._result(request["method"], request["params"])}
        except Revert as revert:
            error = {"code": 3, "message": "execution reverted", "data": "0x" + revert.data.hex()}
        except LookupError as missing:
            error = {"code": -32000, "message": str(missing)}
        return {**reply, "error": error}

    def _result(self, method: str, params: list[Any]) -> object:
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_getBlockByNumber":
            return self.block(self.now() // BLOCK_S if params[0] == "latest" else int(params[0], 16))
        assert method == "eth_call", method
        call, place = params
        if isinstance(place, dict):
            assert place["requireCanonical"] is True
        number = self._number(place["blockHash"]) if isinstance(place, dict) else int(place, 16)
        types, words = self._says.get((call["to"].lower(), call["data"][2:10]), ((), lambda _: ()))
        return "0x" + encode(types, words(number * BLOCK_S)).hex()

    def _number(self, digest: str) -> int:
        raw = bytes.fromhex(digest[2:])
        number = int.from_bytes(raw[24:], "big")
        if raw[:24] != self._salt() or not 0 <= number <= self.now() // BLOCK_S:
            raise LookupError("hash is not currently canonical")
        return number

    async def node(self, request: web.Request) -> web.Response:
        """The HTTP side."""
        body = json.loads(await request.read())
        self.batches += 1
        return web.json_response([self.answer(each) for each in body] if isinstance(body, list) else self.answer(body))
