"""The embedded chain served over HTTP JSON-RPC on 127.0.0.1: what `dodona demo`, `devnet` and the tests connect to.

Why this file exists: nodes use web3 over HTTP and must not be able to tell this chain from any other. It turns
JSON-RPC 2.0 (batches, standard error objects) into calls on `ledger.Ledger` and back into hex. Beside the usual
methods: `dodona_setTime(seconds)` fixes the time of the next block and of calls at `latest` and `pending` (null goes
back to the system clock), `evm_mine`, `evm_setAutomine`, `evm_snapshot`, `evm_revert`, `dodona_dropPool`. Never in
here: rules of the chain (`ledger.py`) or of Dodona. It holds no keys and signs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from aiohttp import web
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from oracle.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    address_of,
    block_json,
    bytes_of,
    call_of,
    log_matches,
    logs_json,
    number_of,
    quantity,
    raw,
    receipt_json,
    topics_of,
    transaction_json,
)
from oracle.ledger import Ledger, MinedBlock, Refused

MAX_BODY = 2 * 1024 * 1024
MAX_BATCH = 1000
MAX_LOGS = 10_000
MAX_DEPTH = 32
BRACKETS = re.compile(rb"[\[\]{}]")
DEFAULT_CHAIN_ID = 31337
TIP = 10**9
ETHER = 10**18


def dev_key(index: int) -> bytes:
    """Private key of a funded development account: public knowledge, worthless anywhere else."""
    return keccak(b"dodona development account %d" % index)


def dev_address(index: int) -> bytes:
    """Address of `dev_key(index)`."""
    return bytes.fromhex(Account.from_key(dev_key(index)).address[2:])


def dev_alloc(accounts: int = 10) -> dict[bytes, int]:
    """A million ether for each of the first development accounts."""
    return {dev_address(i): 10**6 * ETHER for i in range(accounts)}


class DevChain:
    """JSON-RPC methods over one Ledger. `handle` takes and gives parsed JSON; HTTP is in `application`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._methods: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: "dodona-devchain/0.1.0/py-evm",
            "net_version": lambda: str(ledger.chain_id),
            "net_listening": lambda: True,
            "eth_chainId": lambda: quantity(ledger.chain_id),
            "eth_syncing": lambda: False,
            "eth_accounts": lambda: [],
            "eth_blockNumber": lambda: quantity(ledger.head.number),
            "eth_gasPrice": lambda: quantity(ledger.base_fee() + TIP),
            "eth_maxPriorityFeePerGas": lambda: quantity(TIP),
            "eth_feeHistory": self.fee_history,
            "eth_getBlockByNumber": self.block_by_number,
            "eth_getBlockByHash": self.block_by_hash,
            "eth_getTransactionCount": self.transaction_count,
            "eth_getBalance": lambda who, tag="latest": quantity(ledger.balance(address_of(who), self._block(tag))),
            "eth_getCode": lambda who, tag="latest": raw(ledger.code(address_of(who), self._block(tag))),
            "eth_getStorageAt": self.storage_at,
            "eth_call": lambda tx, tag="latest": raw(ledger.call(call_of(tx), self._block(tag))),
            "eth_estimateGas": lambda tx, tag="latest": quantity(ledger.estimate_gas(call_of(tx), self._block(tag))),
            "eth_sendRawTransaction": lambda data: raw(ledger.send_raw(bytes_of(data))),
            "eth_getTransactionByHash": self.transaction_by_hash,
            "eth_getTransactionReceipt": self.receipt,
            "eth_getLogs": self.logs,
            "dodona_setTime": self.set_time,
            "dodona_dropPool": ledger.drop_pool,
            "evm_mine": self.mine,
            "evm_setAutomine": self.set_automine,
            "evm_snapshot": lambda: quantity(ledger.snapshot()),
            "evm_revert": lambda number: ledger.revert(number_of(number)),
        }

    # Dispatch

    def handle(self, body: Any) -> Any:
        """Answer one parsed request or batch. None: nothing to answer (only notifications)."""
        if isinstance(body, list):
            if not body or len(body) > MAX_BATCH:
                return _failure(None, INVALID_REQUEST, f"a batch holds 1 to {MAX_BATCH} requests, got {len(body)}")
            answers = [answer for request in body if (answer := self._one(request)) is not None]
            return answers or None
        return self._one(body)

    def _one(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, INVALID_REQUEST, "a request is an object with a method name")
        identity = request.get("id")
        if isinstance(identity, (dict, list)):
            return _failure(None, INVALID_REQUEST, "id must be a number, a string or null")
        params = request.get("params", [])
        method = self._methods.get(request["method"])
        if method is None:
            answer = _failure(identity, METHOD_NOT_FOUND, f"the method {request['method'][:64]} does not exist")
        elif not isinstance(params, list):
            answer = _failure(identity, INVALID_PARAMS, "params must be a list")
        else:
            answer = _call(identity, method, params)
        return answer if "id" in request else None

    def _block(self, tag: object) -> MinedBlock | None:
        """Block of a tag or number; None is the context of the next block, which `latest` also means for calls."""
        if isinstance(tag, dict):
            tag = tag.get("blockHash", tag.get("blockNumber"))
        if tag in ("latest", "pending", "safe", "finalized", None):
            return None
        if tag == "earliest":
            return self.ledger.blocks[0]
        is_hash = isinstance(tag, str) and len(tag) == 66
        number = self.ledger.by_hash.get(bytes_of(tag)) if is_hash else number_of(tag)
        if number is None or number >= len(self.ledger.blocks):
            raise Refused(-32000, f"header not found: {tag}")
        return None if number == self.ledger.head.number else self.ledger.blocks[number]

    # Blocks and transactions

    def block_by_number(self, tag: object, full: object = False) -> dict[str, Any] | None:
        """Block, or null when there is none of that number. `pending` is shown as the latest."""
        if tag not in ("latest", "pending", "safe", "finalized", "earliest") and number_of(tag) >= len(
            self.ledger.blocks
        ):
            return None
        return block_json(self._block(tag) or self.ledger.head, full is True)

    def block_by_hash(self, digest: object, full: object = False) -> dict[str, Any] | None:
        """Block, or null when no canonical block has this hash."""
        number = self.ledger.by_hash.get(bytes_of(digest))
        return None if number is None else block_json(self.ledger.blocks[number], full is True)

    def transaction_count(self, who: object, tag: object = "latest") -> str:
        """Nonce; `pending` counts the pool."""
        if tag == "pending":
            return quantity(self.ledger.pending_nonce(address_of(who)))
        return quantity(self.ledger.nonce(address_of(who), self._block(tag)))

    def storage_at(self, who: object, slot: object, tag: object = "latest") -> str:
        """One storage word, 32 bytes."""
        return raw(self.ledger.storage(address_of(who), number_of(slot), self._block(tag)).to_bytes(32, "big"))

    def transaction_by_hash(self, digest: object) -> dict[str, Any] | None:
        """Mined or waiting transaction, or null."""
        key = bytes_of(digest)
        place = self.ledger.where.get(key)
        if place is not None:
            block = self.ledger.blocks[place[0]]
            return transaction_json(block.transactions[place[1]], block, place[1])
        waiting = self.ledger.pooled(key)
        return None if waiting is None else transaction_json(waiting, None, None)

    def receipt(self, digest: object) -> dict[str, Any] | None:
        """Receipt of a mined transaction, or null."""
        place = self.ledger.where.get(bytes_of(digest))
        return None if place is None else receipt_json(self.ledger.blocks[place[0]], place[1])

    def logs(self, query: object) -> list[dict[str, Any]]:
        """Logs by block range or hash, addresses and topics. Refused above MAX_LOGS."""
        if not isinstance(query, dict):
            raise Refused(INVALID_PARAMS, "the filter must be an object")
        given = query.get("address")
        addresses = {address_of(a) for a in (given if isinstance(given, list) else [given])} if given else None
        topics = topics_of(query.get("topics"))
        found: list[dict[str, Any]] = []
        for block in self._range(query):
            for log in logs_json(block):
                if log_matches(log, addresses, topics):
                    found.append(log)
            if len(found) > MAX_LOGS:
                raise Refused(-32005, f"query returned more than {MAX_LOGS} results: ask for a shorter range")
        return found

    def _range(self, query: Mapping[str, Any]) -> list[MinedBlock]:
        if "blockHash" in query:
            number = self.ledger.by_hash.get(bytes_of(query["blockHash"]))
            if number is None:
                raise Refused(-32000, "unknown block")
            return [self.ledger.blocks[number]]
        ends = [self._block(query.get(name, "latest")) or self.ledger.head for name in ("fromBlock", "toBlock")]
        return self.ledger.blocks[ends[0].number : ends[1].number + 1]

    def fee_history(self, count: object, newest: object, percentiles: object = None) -> dict[str, Any]:
        """Base fees (one more than blocks), gas-used ratios and, when asked for, tips."""
        last = (self._block(newest) or self.ledger.head).number
        wanted = min(number_of(count), 1024, last + 1)
        blocks = self.ledger.blocks[last + 1 - wanted : last + 1]
        following = self.ledger.base_fee() if last == self.ledger.head.number else None
        fees = [int(b.header.base_fee_per_gas) for b in blocks]
        fees.append(int(self.ledger.blocks[last + 1].header.base_fee_per_gas) if following is None else following)
        answer: dict[str, Any] = {
            "oldestBlock": quantity(last + 1 - wanted),
            "baseFeePerGas": [quantity(f) for f in fees],
            "gasUsedRatio": [b.header.gas_used / b.header.gas_limit for b in blocks],
        }
        if isinstance(percentiles, list) and percentiles:
            answer["reward"] = [[quantity(TIP)] * len(percentiles) for _ in blocks]
        return answer

    # Control

    def set_time(self, seconds: object) -> str:
        """Fix the chain's time, or follow the system clock again with null; returns the next block's timestamp."""
        if seconds is None:
            self.ledger.now = None
            return quantity(self.ledger.next_timestamp())
        return quantity(self.ledger.set_time(number_of(seconds)))

    def mine(self) -> str:
        """Mine one block; returns its number."""
        return quantity(self.ledger.mine().number)

    def set_automine(self, on: object) -> bool:
        """Switch mining on arrival on or off."""
        if not isinstance(on, bool):
            raise Refused(INVALID_PARAMS, "evm_setAutomine takes true or false")
        self.ledger.automine = on
        return on


def _call(identity: Any, method: Callable[..., Any], params: list[Any]) -> dict[str, Any]:
    try:
        _check_arity(method, params)
        return {"jsonrpc": "2.0", "id": identity, "result": method(*params)}
    except Refused as refusal:
        return _failure(identity, refusal.code, refusal.message, refusal.data)


def _check_arity(method: Callable[..., Any], params: list[Any]) -> None:
    code = getattr(method, "__code__", None) or method.__func__.__code__  # type: ignore[attr-defined]
    bound = 1 if getattr(method, "__self__", None) is not None else 0
    most = code.co_argcount - bound
    least = most - len(getattr(method, "__defaults__", None) or ())
    if not least <= len(params) <= most:
        raise Refused(INVALID_PARAMS, f"this method takes {least} to {most} params, got {len(params)}")


def _failure(identity: Any, code: int, message: str, data: bytes | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = raw(data)
    return {"jsonrpc": "2.0", "id": identity, "error": error}


# HTTP


def _too_deep(content: bytes) -> bool:
    """Whether JSON is nested deeper than any request is.

    py-evm lifts Python's recursion limit far above what the parser's C stack holds, so depth is checked beforehand.
    """
    depth = 0
    for bracket in BRACKETS.finditer(content):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def application(chain: DevChain) -> web.Application:
    """The aiohttp application: POST / with a body of at most MAX_BODY bytes."""

    async def endpoint(request: web.Request) -> web.Response:
        """Parse, answer, encode; 204 where there is nothing to answer."""
        try:
            content = await request.read()
            body = None if _too_deep(content) else json.loads(content)
        except (ValueError, RecursionError) as exc:
            return web.json_response(_failure(None, PARSE_ERROR, f"the body is not JSON: {exc}"[:200]))
        answer = chain.handle(body)
        return web.Response(status=204) if answer is None else web.json_response(answer)

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/", endpoint)
    return app


@dataclass(slots=True)
class Serving:
    """A running server in this process; `url` is where, `stop()` ends it."""

    url: str
    chain: DevChain
    runner: web.AppRunner

    async def stop(self) -> None:
        """Close the port."""
        await self.runner.cleanup()


async def serve(ledger: Ledger, port: int = 0) -> Serving:
    """Serve a ledger on 127.0.0.1; port 0 picks a free one. Raises OSError when the port is in use."""
    chain = DevChain(ledger)
    runner = web.AppRunner(application(chain), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    return Serving(f"http://127.0.0.1:{bound}", chain, runner)


async def _main(options: argparse.Namespace) -> int:
    ledger = Ledger(options.chain_id, options.genesis_time, dev_alloc(), options.genesis_time)
    if options.clock == "system":
        ledger.now = None
    try:
        serving = await serve(ledger, options.port)
    except OSError as exc:
        print(f"devchain: port {options.port} cannot be used ({exc.strerror}): choose another --port", file=sys.stderr)
        return 2
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _settle, stopped, int(number))
    print(
        json.dumps({"url": serving.url, "chain_id": ledger.chain_id, "account": to_checksum_address(dev_address(0))}),
        flush=True,
    )
    by = await stopped
    await serving.stop()
    return 128 + by if by == signal.SIGINT else 0


def _settle(stopped: asyncio.Future[int], number: int) -> None:
    if not stopped.done():
        stopped.set_result(number)


class _Parser(argparse.ArgumentParser):
    """Tells a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"devchain: {message}; see --help\n")


def _within(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 20 or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"given {text!r}, allowed: a whole number from {low} to {high}")
        return int(text)

    return number


def main(argv: list[str] | None = None) -> int:
    """`python -m oracle.devchain`: serve until a signal; the first line of output is JSON with the URL."""
    parser = _Parser(prog="python -m oracle.devchain", description=__doc__)
    parser.add_argument("--port", type=_within(0, 65_535), default=0, help="0 picks a free port")
    parser.add_argument("--chain-id", type=_within(1, 2**63 - 1), default=DEFAULT_CHAIN_ID)
    seconds = _within(0, 2**40)
    parser.add_argument("--genesis-time", type=seconds, required=True, help="UTC seconds of the genesis block")
    parser.add_argument("--clock", choices=("set", "system"), default="set", help="set: moved by dodona_setTime")
    return asyncio.run(_main(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
