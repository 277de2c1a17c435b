"""JSON-RPC 2.0 to one Ethereum node, over the process's one HTTP client.

Why this file exists: the few questions that prices need go out in one batch each, through the bounds of
`feeds.sources.http`, and every answer is matched to its question here, so that no library can repair, retry or guess.
Plain `eth_abi` over JSON-RPC rather than web3's providers: those open sessions of their own without our bounds, sort a
batch by whatever ids came back, and raise dozens of types. Never in it: contracts, prices, an RPC's path in a text.

Formats: https://www.jsonrpc.org/specification and https://ethereum.github.io/execution-apis/.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from feeds.sources.http import Http
from feeds.sources.onchain.abi import MAX_OUTPUT, printable, revert_reason
from feeds.sources.onchain.errors import RpcRefused
from feeds.sources.secret import Secret
from feeds.sources.source import BadRule, MalformedAnswer
from feeds.sources.url import checked_url, without_keys

REVERTED = 3
"""Code of an error that carries revert data (geth, and since it execution-apis)."""
_HEX = re.compile(r"0x[0-9a-fA-F]*")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """One JSON-RPC call."""

    method: str
    params: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """What the RPC said instead of a result, without keys: its `code` and words.

    `reverted`: the contract refused, not the RPC; `why` is then the contract's reason.
    """

    code: int
    said: str
    reverted: bool
    why: str


class Rpc:
    """One endpoint as one source asks it. `url`: http(s), plain or by secret reference where it holds a key."""

    def __init__(self, source: str, url: str | Secret, http: Http) -> None:
        """Nothing is asked yet. Raises BadRule for a plain text that is no URL or holds a user."""
        self._source, self._url, self._http = source, url, http
        self._ids = itertools.count(1)
        if isinstance(url, str):
            check_url(source, url)

    async def ask(self, requests: Sequence[Request]) -> list[object | Failure]:
        """Answers in the order of `requests`, sent as one batch; an error to a single one is a `Failure` in its place.

        Raises SourceUnavailable, MalformedAnswer, RpcRefused (the batch as a whole) or SecretMissing.
        """
        check_url(self._source, self._url)
        ids = {next(self._ids): request for request in requests}
        body = [
            {"jsonrpc": "2.0", "id": number, "method": request.method, "params": list(request.params)}
            for number, request in ids.items()
        ]
        answer = await self._http.request(self._source, "POST", self._url, json=body)
        return self._sorted(ids, answer.json())

    def _sorted(self, ids: dict[int, Request], answers: object) -> list[object | Failure]:
        if isinstance(answers, dict) and answers.get("error") is not None:
            failure = self._failure(answers["error"])
            raise RpcRefused(self._source, "a batch of requests", failure.code, failure.said)
        if not isinstance(answers, list) or len(answers) != len(ids):
            self._garbled("not one answer for each request of the batch", "a list of as many answers")
        found: dict[int, object | Failure] = {}
        for each in answers:
            number = each.get("id") if isinstance(each, dict) else None
            if type(number) is not int or number not in ids or number in found:
                self._garbled("an answer to no request", "one answer with the id of each request")
            error = each.get("error")
            if error is None and "result" not in each:
                self._garbled("neither result nor error", f"an answer to {ids[number].method}")
            found[number] = each["result"] if error is None else self._failure(error)
        return [found[number] for number in ids]

    def _failure(self, error: object) -> Failure:
        code = error.get("code") if isinstance(error, dict) else None
        said = error.get("message") if isinstance(error, dict) else error
        said = said if isinstance(said, str) else "no message"
        data = error.get("data") if isinstance(error, dict) else None
        if isinstance(data, dict):  # some clients wrap it once more
            data = data.get("data")
        revert = b""
        if isinstance(data, str) and len(data) <= 2 * MAX_OUTPUT + 2 and len(data) % 2 == 0 and _HEX.fullmatch(data):
            revert = bytes.fromhex(data[2:])
        url = self._url if isinstance(self._url, str) else self._url.reveal()
        words = printable(without_keys(said[:4000], url))
        why = without_keys(revert_reason(revert), url) if revert else words
        reverted = code == REVERTED or bool(revert) or "revert" in words.lower()
        return Failure(code if type(code) is int else 0, words, reverted, why)

    def quantity(self, value: object, what: str) -> int:
        """A quantity (hex number) as int; raises MalformedAnswer naming `what`."""
        if isinstance(value, str) and _QUANTITY.fullmatch(value):
            return int(value, 16)
        self._garbled(f"{what} is no quantity", "a hex number of at most 32 bytes")

    def data(self, value: object, what: str, length: int | None = None) -> bytes:
        """Bytes (of `length`, if given), at most MAX_OUTPUT; raises MalformedAnswer naming `what`."""
        sound = isinstance(value, str) and len(value) <= 2 * MAX_OUTPUT + 2 and len(value) % 2 == 0
        if isinstance(value, str) and sound and _HEX.fullmatch(value) and length in (None, len(value) // 2 - 1):
            return bytes.fromhex(value[2:])
        size = f"at most {MAX_OUTPUT}" if length is None else str(length)
        self._garbled(f"{what} is no such data", f"hex of {size} bytes")

    def _garbled(self, given: str, limit: str) -> NoReturn:
        raise MalformedAnswer(self._source, given, limit)


def check_url(source: str, url: str | Secret) -> None:
    """Raise BadRule unless `url` is an http(s) URL that can be sent to (`feeds.sources.url`); its text is not shown."""
    try:
        sound = checked_url(url).scheme in ("http", "https")
    except BadRule:
        sound = False
    if not sound:
        limit = "http(s)://host[:port]/path without user or fragment; https where the URL is a secret"
        raise BadRule(f"source {source}: rpc_url", "something else (not shown)", limit)
