"""The chain side of a whole network on anvil: another implementation of the EVM, in the manner of `LocalChain`.

Why this file exists: contracts that only py-evm ever ran are tested against py-evm's reading of the rules. anvil
(https://getfoundry.sh/anvil) is revm. `AnvilChain` has the same accounts, the same clock that only moves when told and
the same way to refuse as `LocalChain`, so one suite runs on both. It is for tests: never a node's chain.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_tester.backends.pyevm.main import get_default_account_keys
from eth_tester.exceptions import TransactionFailed
from eth_typing import URI, ChecksumAddress
from web3 import HTTPProvider, IPCProvider, Web3
from web3.middleware import Web3Middleware
from web3.types import RPCEndpoint, RPCResponse

from contracts.artifacts import EVM_VERSION
from oracle.chain.localnet import GENESIS_TIME
from oracle.errors import ChainFault, LocalFault
from oracle.processes import die_with_parent

BALANCE = 10**24
START_S, STOP_S, CALL_S, POLL_S = 30.0, 5.0, 60, 0.01
REVERTED = 3
"""JSON-RPC error code of a call that reverted."""
HALTED = "EVM error "
"""How anvil's message starts when a call ended in something else than a revert, such as no more gas."""
ERROR_STRING = bytes.fromhex("08c379a0")
"""Selector of Solidity's `Error(string)`, which a revert with a reason returns."""
KEEP_CHAIN_ID: dict[str, Any] = {"cache_allowed_requests": True, "cacheable_requests": {RPCEndpoint("eth_chainId")}}
"""Ask once for the only answer that never changes; by itself web3 would also keep blocks that look old."""
SENDING = ("eth_sendTransaction", "eth_sendRawTransaction")


class AnvilMissing(LocalFault):
    """There is no `anvil` on PATH."""


class AnvilSilent(ChainFault):
    """anvil ended or did not start in time, or refused what a chain of ours needs of it."""


@dataclass(slots=True)
class Taken:
    """A snapshot: anvil's number of it, which changes at each use, and the second of the next block."""

    number: str
    now: int


def refusal(error: Mapping[str, Any]) -> TransactionFailed | None:
    """Return what eth-tester raises where anvil answers `error`, or None if the error is no refusal of a call.

    The text is `execution reverted: ` with the reason, or with the `repr` of revert data that is no reason.
    """
    message = str(error.get("message"))
    if error.get("code") != REVERTED:
        return TransactionFailed(message) if message.startswith(HALTED) else None
    data = bytes.fromhex(str(error.get("data") or "0x")[2:])
    told = repr(data)
    if data.startswith(ERROR_STRING):
        with suppress(DecodingError):
            (told,) = decode(["string"], data[4:])
    return TransactionFailed(f"execution reverted: {told}")


class MinesOnArrival(Web3Middleware):
    """Mines a block for each transaction before its hash is returned; raises what a call is refused with."""

    def wrap_make_request(self, make_request: Callable[[RPCEndpoint, Any], RPCResponse]) -> Any:
        """Return the function that web3 calls in place of `make_request`."""

        def request(method: RPCEndpoint, params: Any) -> RPCResponse:
            answer = make_request(method, params)
            if "error" in answer and (refused := refusal(answer["error"])) is not None:
                raise refused
            if method in SENDING and "result" in answer:
                make_request(RPCEndpoint("evm_mine"), [])
            return answer

        return request


class AnvilChain:
    """A chain on anvil. Time stands still but for `move_to`; every transaction is mined at once."""

    def __init__(self, accounts: int = 80, start: int = GENESIS_TIME, *, url: str | None = None) -> None:
        """Start anvil with `accounts` funded accounts at second `start`, or take over the one that answers at `url`.

        A started one ends with `close`, or when neither the chain nor a handle of a contract on it is held any more.
        Raises AnvilMissing and AnvilSilent.
        """
        provider: IPCProvider | HTTPProvider
        self.close: Callable[[], object]
        if url is None:
            provider, self.close = spawn()
        else:
            provider, self.close = HTTPProvider(URI(url), **KEEP_CHAIN_ID), lambda: None
        self.w3 = Web3(provider)
        self.w3.middleware_onion.inject(MinesOnArrival, layer=0)
        keys = get_default_account_keys(quantity=accounts)
        self.accounts: list[ChecksumAddress] = [key.public_key.to_checksum_address() for key in keys]
        self.w3.eth.default_account = self.accounts[0]
        self._ask("evm_setAutomine", False)
        self._ask("anvil_autoImpersonateAccount", True)
        for account in self.accounts:
            self._ask("anvil_setBalance", account, hex(BALANCE))
        self._ask("evm_setTime", start)
        self._ask("anvil_setBlockTimestampInterval", 1)
        self.move_to(start)
        self._ask("evm_mine")  # the genesis block bears the machine's time

    def _ask(self, method: str, *params: Any) -> Any:
        """Call one of anvil's own methods; raises AnvilSilent with its words when it refuses."""
        answer = self.w3.provider.make_request(RPCEndpoint(method), list(params))
        if "error" in answer:
            raise AnvilSilent(f"anvil refuses {method}: {answer['error'].get('message')}")
        return answer["result"]

    @property
    def now(self) -> int:
        """Second of the next block."""
        return int(self._ask("eth_getBlockByNumber", "pending", False)["timestamp"], 16)

    def move_to(self, second: int) -> None:
        """Give the next block this time."""
        self._ask("evm_setNextBlockTimestamp", second)

    def snapshot(self) -> Taken:
        """Remember the chain as it is now, for `revert`."""
        return Taken(self._ask("evm_snapshot"), self.now)

    def revert(self, taken: Taken) -> None:
        """Go back to a snapshot, time included, as often as wanted; snapshots taken after it are lost.

        Raises AnvilSilent for a lost one: anvil keeps no future.
        """
        if self.w3.provider.make_request(RPCEndpoint("evm_revert"), [taken.number]).get("result") is not True:
            raise AnvilSilent("anvil no longer has this snapshot: it was taken after one that was gone back to since")
        taken.number = self._ask("evm_snapshot")
        self.move_to(taken.now)

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Undo whatever happens inside."""
        taken = self.snapshot()
        try:
            yield
        finally:
            self.revert(taken)

    def set_storage(self, contract: str, values: Mapping[int, int]) -> None:
        """Write storage words directly, to start a measurement from a stated state."""
        for place, value in values.items():
            self._ask("anvil_setStorageAt", contract, hex(place), "0x" + value.to_bytes(32).hex())


def spawn() -> tuple[IPCProvider, weakref.finalize[..., IPCProvider]]:
    """Start an anvil of ours, wait until it answers, and return what reaches it and what ends it.

    It also ends when the provider is forgotten, which the handles of its contracts hold as the chain does.
    """
    program = find_anvil()
    folder = tempfile.TemporaryDirectory(prefix="anvil-")
    path = Path(folder.name) / "ipc"
    command = [program, "--quiet", "--port", "0", "--ipc", str(path), "--hardfork", EVM_VERSION,
               "--accounts", "1", "--no-mining", "--prune-history"]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    provider = IPCProvider(path, timeout=CALL_S, **KEEP_CHAIN_ID)
    stop = weakref.finalize(provider, _stop, process, folder, provider._socket)
    end = time.monotonic() + START_S
    while not _listens(path):
        if process.poll() is not None or time.monotonic() > end:
            stop()
            raise AnvilSilent(f"{program} did not start: exit code {process.returncode}")
        time.sleep(POLL_S)
    return provider, stop


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _stop(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str], connection: Any) -> None:
    # web3 would leave the connection open
    if connection.sock is not None:
        connection.sock.close()
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    folder.cleanup()


def find_anvil() -> str:
    """Path of the anvil program on PATH: npm's starter script is passed by, for a signal should reach anvil itself."""
    found = shutil.which("anvil")
    if found is None:
        raise AnvilMissing("no anvil on PATH: `make test` installs it where npm is, or see https://getfoundry.sh")
    script = Path(found).resolve()
    binaries = sorted(script.parent.parent.glob("anvil-*/bin/anvil*")) if script.suffix == ".mjs" else []
    return str(binaries[0]) if binaries else found
