"""JSON-RPC over HTTP with every failure turned into a ChainFault.

Why this file exists: an RPC is run by somebody else. It is slow, it answers 429, it cuts JSON in half, it forgets;
each of these must become one clear line with the URL, and none may hang or crash a node. Transport is web3's
AsyncHTTPProvider. Never in here: contracts, fees, nonces. URLs are shown without path and user, where keys hide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponseError, ClientTimeout
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from oracle.errors import ChainFault, Reverted, Unreachable

TRIES = 3
BACKOFF_S = 0.25
MAX_BATCH = 100
REVERT_CODE = 3
# What web3's decoder raises on an answer that is not JSON, or JSON of another shape (it warns of missing ids).
MALFORMED = (ValueError, RecursionError, Web3Exception, RuntimeWarning, TypeError, KeyError, AttributeError)
MEND = "correct [chain] rpc_url or use another RPC"


class RpcRefused(ChainFault):
    """The RPC answered with an error object. `code` and `reason` are what it said."""

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(message, given=code)
        self.code = code
        self.reason = reason


class RpcGarbled(ChainFault):
    """The RPC answered with something that is not JSON-RPC."""


def shown(url: str) -> str:
    """The URL as it may be printed: user, path and query, where API keys live, are left out.

    >>> shown("https://me:secret@rpc.example:8545/v3/0123456789")
    'https://rpc.example:8545/...'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    rest = "/..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{rest}"


class Rpc:
    """One RPC endpoint. `timeout_s` bounds each try; reads and sends are tried up to TRIES times.

    Sending a signed transaction twice is harmless (the second answer is `already known`), so all methods may be
    repeated.
    """

    __slots__ = ("_provider", "url", "web3")

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self.url = shown(url)
        self._provider = AsyncHTTPProvider(
            url,
            request_kwargs={"timeout": ClientTimeout(total=timeout_s)},
            exception_retry_configuration=None,
        )
        self.web3: AsyncWeb3[AsyncHTTPProvider] = AsyncWeb3(self._provider)

    async def request(self, method: str, *params: Any) -> Any:
        """Result of one request. Raises Unreachable, RpcGarbled, RpcRefused or Reverted."""
        answer = await self._tried(method, partial(self._provider.make_request, RPCEndpoint(method), list(params)))
        return self._result(method, answer)

    async def batch(self, requests: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Results of several requests in order, in one HTTP request for each MAX_BATCH of them.

        Raises what `request` raises, for the first one that failed.
        """
        results: list[Any] = []
        for start in range(0, len(requests), MAX_BATCH):
            part = [(RPCEndpoint(method), params) for method, params in requests[start : start + MAX_BATCH]]
            answers = await self._tried("a batch", partial(self._provider.make_batch_request, part))
            if isinstance(answers, dict):
                self._result("a batch", answers)
            if not isinstance(answers, list) or len(answers) != len(part) or not _in_sequence(answers):
                raise RpcGarbled(f"{self.url}: a batch of {len(part)} was not answered by a list; {MEND}")
            results += [self._result(str(name), answer) for (name, _), answer in zip(part, answers, strict=True)]
        return results

    async def call(self, to: bytes, data: bytes, *, sender: bytes | None = None) -> bytes:
        """Output of a contract function at the latest block. Raises Reverted with the reason."""
        return self.to_bytes(await self.request("eth_call", _call(to, data, sender), "latest"))

    async def calls(self, requests: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Outputs of several contract functions, batched."""
        results = await self.batch([("eth_call", [_call(to, data, None), "latest"]) for to, data in requests])
        return [self.to_bytes(result) for result in results]

    async def quantity(self, method: str, *params: Any) -> int:
        """Result of a request that answers with a quantity."""
        return self.to_int(await self.request(method, *params))

    def to_int(self, value: object) -> int:
        """A quantity as int; RpcGarbled when it is none."""
        try:
            if isinstance(value, str) and value[:2] == "0x" and len(value) <= 66:
                return int(value, 16)
        except ValueError:
            pass
        raise RpcGarbled(f"{self.url}: expected a quantity, got {str(value)[:80]!r}; {MEND}")

    def to_bytes(self, value: object) -> bytes:
        """Data as bytes; RpcGarbled when it is none."""
        try:
            if isinstance(value, str) and value[:2] == "0x":
                return bytes.fromhex(value[2:])
        except ValueError:
            pass
        raise RpcGarbled(f"{self.url}: expected bytes, got {str(value)[:80]!r}; {MEND}")

    async def close(self) -> None:
        """Close the connections."""
        await self._provider.disconnect()

    async def _tried(self, what: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """Run one exchange, again after 429, 5xx, a time-out or half an answer. Raises Unreachable or RpcGarbled."""
        for attempt in range(TRIES):
            fault: ChainFault
            pause = BACKOFF_S * 3**attempt
            try:
                return await send()
            except ClientResponseError as exc:
                fault = Unreachable(f"{self.url}: HTTP {exc.status} to {what}; check the URL, its key and its limits")
                if exc.status != 429 and exc.status < 500:
                    raise fault from None
            except (ClientError, OSError, TimeoutError) as exc:
                reason = str(exc) or type(exc).__name__
                fault = Unreachable(f"{self.url}: no answer to {what} ({reason}); is it up, is [chain] rpc_url right?")
            except MALFORMED as exc:
                fault = RpcGarbled(f"{self.url}: the answer to {what} is not JSON-RPC ({type(exc).__name__}); {MEND}")
            if attempt + 1 < TRIES:
                await asyncio.sleep(pause)
        raise fault

    def _result(self, method: str, answer: object) -> Any:
        if not isinstance(answer, dict) or ("result" in answer) == ("error" in answer):
            raise RpcGarbled(f"{self.url}: the answer to {method} has no result and no error; {MEND}")
        if "result" in answer:
            return answer["result"]
        error = answer["error"]
        code = error.get("code") if isinstance(error, dict) else None
        reason = str(error.get("message") if isinstance(error, dict) else error)[:300]
        if code == REVERT_CODE or "revert" in reason.lower():
            raise Reverted(f"{self.url}: {method}: {reason}", given=reason)
        raise RpcRefused(f"{self.url}: {method} refused: {reason}", code if isinstance(code, int) else 0, reason)


def _in_sequence(answers: list[Any]) -> bool:
    """Whether the answers, which web3 sorted by id, carry the running ids that web3 gave to the requests."""
    ids: list[object] = [answer.get("id") if isinstance(answer, dict) else None for answer in answers]
    first = ids[0]
    return isinstance(first, int) and ids == list(range(first, first + len(ids)))


def _call(to: bytes, data: bytes, sender: bytes | None) -> dict[str, str]:
    message = {"to": "0x" + to.hex(), "data": "0x" + data.hex()}
    return message if sender is None else message | {"from": "0x" + sender.hex()}
