"""ape's networks and accounts, as far as a deployment needs them: an RPC and a signature.

Why this file exists: operators keep their RPC settings and keys in ape (https://docs.apeworx.io), hardware wallets
included. Nothing else of ape is used: what is sent, when and how often is decided in `runner.py`. Never in it: a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from web3 import Web3

from oracle.errors import ConfigError

TEST_PREFIX = "TEST::"


@contextmanager
def connected(choice: str) -> Iterator[tuple[Web3, Any]]:
    """Connect to a network as ape names it (`ecosystem:network:provider`); gives web3 and ape's provider."""
    import ape
    from ape.exceptions import ApeException
    from ape.logging import LogLevel, logger

    logger.set_level(LogLevel.ERROR)
    try:
        context = ape.networks.parse_network_choice(choice)
        provider = context.__enter__()
    except (ApeException, ValueError, ConnectionError) as error:
        mend = "`ape networks list` shows the known ones; a URL goes behind ecosystem:network:"
        raise ConfigError(f"--network {choice}: {first_line(error)}; {mend}", given=choice) from error
    try:
        yield provider.web3, provider
    finally:
        context.__exit__(None, None, None)


def first_line(error: Exception) -> str:
    """What ape says first; the rest are lists and advice for its own commands."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")


class ApeSigner:
    """An account of ape's: `alias` of `ape accounts list`, or `TEST::0`, the first test account of a local network."""

    def __init__(self, alias: str, provider: Any) -> None:
        self._provider = provider
        self._account = self._load(alias)
        self.address = str(self._account.address)
        self.alias = alias

    def unlock(self) -> None:
        """Ask for the passphrase once, or take it from APE_ACCOUNTS_<alias>_PASSPHRASE, instead of at each step."""
        from ape.exceptions import ApeException

        if hasattr(self._account, "set_autosign"):
            try:
                self._account.set_autosign(True)
            except ApeException as error:
                raise ConfigError(
                    f"--account {self.alias}: {first_line(error)}; try again", given=self.alias
                ) from error

    def sign(self, fields: Mapping[str, Any]) -> bytes:
        """The signed bytes of an EIP-1559 transaction. Raises ConfigError when the account declines."""
        from ape.exceptions import ApeException

        names = {"to": "receiver", "maxFeePerGas": "max_fee", "maxPriorityFeePerGas": "max_priority_fee"}
        given = {names.get(name, name): value for name, value in fields.items() if value is not None}
        try:
            made = self._provider.network.ecosystem.create_transaction(**given, sender=self.address)
            signed = self._account.sign_transaction(made)
            if signed is None:
                raise ConfigError(f"--account {self.alias}: did not sign; nothing of this step was sent")
            return bytes(signed.serialize_transaction())
        except ApeException as error:
            raise ConfigError(f"--account {self.alias}: cannot sign ({first_line(error)})", given=self.alias) from error

    def _load(self, alias: str) -> Any:
        import ape
        from ape.exceptions import ApeException

        known = "; `ape accounts list` shows the known ones"
        if alias.startswith(TEST_PREFIX):
            place = alias.removeprefix(TEST_PREFIX)
            if not self._provider.network.is_local:
                why = "everybody has the keys of test accounts, they sign on local networks only"
                raise ConfigError(f"--account {alias}: {why}{known}", given=alias)
            if not place.isascii() or not place.isdecimal() or int(place) >= len(ape.accounts.test_accounts):
                most = len(ape.accounts.test_accounts) - 1
                raise ConfigError(f"--account {alias}: allowed: {TEST_PREFIX}0 to {TEST_PREFIX}{most}", given=alias)
            return ape.accounts.test_accounts[int(place)]
        try:
            return ape.accounts.load(alias)
        except (ApeException, KeyError, IndexError) as error:
            raise ConfigError(f"--account {alias}: {first_line(error)}{known}", given=alias) from error
