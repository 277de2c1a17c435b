"""A network whose Slashing is a judge that the tests command, with an epoch of ten minutes and short windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import Any

from contracts import constant_int
from oracle.chain.deploy import Core, deploy, list_feeds, send
from oracle.chain.localnet import MINUTE, TOKEN, LocalChain, LocalNet, price_spec
from oracle.keys import HotKey
from tests.contracts.mock_code import deploy_mock

EPOCH, EVIDENCE, VOTE = 600, 7_200, 3_600
WINDOW = EVIDENCE + VOTE
ALL = 2**256 - 1
ONE = constant_int("RATE_ONE")
NOBODY = "0x" + "00" * 20
RULES = (TOKEN, EPOCH, EVIDENCE, VOTE)


@dataclass
class Bench:
    """The contracts, who owns validators, and short ways to use both. Amounts in the token's smallest unit."""

    net: LocalNet
    owners: list[str] = field(default_factory=list)
    keys_made: int = 0

    @classmethod
    def start(
        cls, stakes: Sequence[int], *, chain: LocalChain | None = None, least: int = 1, token: Any = None,
        rules: tuple[int, int, int, int] = RULES, roll: bool = True,
    ) -> Bench:  # fmt: skip
        """Validators with `stakes` in whole tokens, owned by accounts 1, 2, 3...; the first config is rolled."""
        place = chain or LocalChain()
        w3, first = place.w3, place.accounts[0]
        token = token or deploy(w3, first, "OracleToken", 2**96 - 1)
        staking = deploy(w3, first, "Staking", token.address, rules)
        timing = (*astuple(MINUTE)[:-1], least)
        configurator = deploy(w3, first, "Configurator", staking.address, timing, place.now)
        aggregator = deploy(w3, first, "Aggregator", configurator.address)
        judge = deploy_mock(w3, first, "JudgeMock", staking.address)
        send(w3, configurator.functions.setAggregator(aggregator.address), first)
        send(w3, staking.functions.setNetwork(aggregator.address, judge.address), first)
        core = Core(token, staking, configurator, aggregator, judge, first)
        bench = cls(LocalNet(place, core))
        list_feeds(w3, core, [price_spec(0)])
        for index, stake in enumerate(stakes):
            bench.register(index + 1, stake * TOKEN)
        if roll:
            bench.roll()
        return bench

    @property
    def chain(self) -> LocalChain:
        return self.net.chain

    @property
    def staking(self) -> Any:
        return self.net.core.staking

    def account(self, index: int) -> str:
        return str(self.chain.accounts[index])

    def fund(self, index: int, amount: int) -> str:
        """Give an account tokens that Staking may take; its address."""
        token, account = self.net.core.token.functions, self.account(index)
        if amount:
            send(self.chain.w3, token.transfer(account, amount), self.account(0))
        send(self.chain.w3, token.approve(self.staking.address, ALL), account)
        return account

    def proof(self, owner: str) -> tuple[HotKey, bytes]:
        """A fresh key and its proof of possession for an owner."""
        self.keys_made += 1
        key = HotKey((10_000 + self.keys_made).to_bytes(32))
        self.net.keys[key.address] = key
        return key, key.sign(self.ask("registrationDigest", owner, key.checksum_address))

    def register(self, index: int, amount: int) -> str:
        owner = self.fund(index, amount)
        key, signature = self.proof(owner)
        self.act(owner, "register", key.checksum_address, f"http://{index}", amount, signature)
        self.owners.append(owner)
        return owner

    def replace_key(self, owner: str) -> HotKey:
        key, signature = self.proof(owner)
        self.act(owner, "replaceKey", key.checksum_address, signature)
        return key

    def act(self, sender: str, name: str, *arguments: Any) -> Any:
        """Send a transaction to Staking; its receipt."""
        return send(self.chain.w3, self.staking.functions[name](*arguments), sender)

    def judge(self, name: str, *arguments: Any) -> Any:
        """Have the judge jail or slash; the receipt."""
        return send(self.chain.w3, self.net.core.slashing.functions[name](*arguments), self.account(0))

    def ask(self, name: str, *arguments: Any, sender: str | None = None) -> Any:
        """Call in the next block, without changing anything."""
        found = partial(self.staking.get_function_by_name(name), *arguments)()
        return found.call({} if sender is None else {"from": sender}, "pending")

    def info(self, owner: str) -> dict[str, Any]:
        """The `Validator` of an owner by field."""
        names = [
            part["name"] for part in self.staking.get_function_by_name("validator").abi["outputs"][0]["components"]
        ]
        return dict(zip(names, self.ask("validator", owner), strict=True))

    @contextmanager
    def own_copy(self) -> Iterator[Bench]:
        """The bench for one test: whatever happens inside is undone."""
        with self.chain.rewound():
            yield replace(self, owners=list(self.owners))

    def wait(self, seconds: int) -> None:
        self.chain.move_to(self.chain.now + seconds)

    def ripen(self) -> None:
        """Go to the first second in which a roll is allowed and the config before it has settled."""
        last = self.ask("lastRoll")
        self.chain.move_to(max(self.chain.now, last + EPOCH))

    def roll(self) -> dict[str, int]:
        """Roll as soon as that is possible; the rows of the newest config by owner, largest first."""
        self.ripen()
        self.act(self.account(0), "rollEpoch")
        return self.rows()

    def rows(self) -> dict[str, int]:
        """Rows of the newest config by owner, largest first."""
        table = self.net.core.configurator.functions.table(self.ask("config")).call()
        return {self.ask("ownerOf", key): stake for key, stake in table}

    def start_of(self, config: int) -> int:
        """The second in which a config begins."""
        return int(self.net.core.configurator.functions.configOf(config).call()[5])

    def sums(self) -> dict[str, int]:
        """The four books and what Staking really holds."""
        names = ("bonded", "unbonding", "totalOwed", "burnable")
        held = self.net.core.token.functions.balanceOf(self.staking.address).call()
        return {name: self.ask(name) for name in names} | {"held": held}


def odd_token(chain: LocalChain) -> Any:
    """A token that does what it is told to; all of it with the first account."""
    token = deploy_mock(chain.w3, chain.accounts[0], "OddToken", 18)
    send(chain.w3, token.functions.mint(chain.accounts[0], 10**9 * TOKEN), chain.accounts[0])
    return token
