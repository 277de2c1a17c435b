"""The deployment engine on a chain without sockets: addresses, resumption after any interruption, verification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from oracle.chain.deploy import contract_at
from oracle.chain.deployment.plan import parse_plan
from oracle.chain.deployment.rehearsal import RehearsalFailed, rehearse
from oracle.chain.deployment.runner import Pace, WrongCode
from oracle.chain.deployment.session import PlanChanged, SourcesChanged, reopen_session
from oracle.chain.deployment.steps import Start, build, created_address
from oracle.chain.deployment.verify import Mismatch, ReferenceDisagrees, refuse_mismatch, verify
from oracle.chain.transactions import FeeAboveCap, InsufficientFunds, NotMined
from oracle.errors import ConfigError
from tests.strategies.deployments import CORE, DEPLOYER, GENESIS, OWNER, PRICE, SHORT, WHOLE, Key, Place, checked


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# What is laid out


def test_steps__laid_out__addresses_follow_from_account_and_nonce() -> None:
    plan = parse_plan(Path("plan.toml"), WHOLE)
    deployment = build(plan, Start(1, DEPLOYER, 7, GENESIS))
    names = [step.name for step in deployment.steps]
    assert len(set(names)) == len(names)
    for step in deployment.steps:
        if step.to is None:
            assert step.creates == created_address(DEPLOYER, 7 + step.index)
    order = ["OracleToken", "Staking", "Configurator", "Aggregator", "Slashing", "FeedFactory"]
    assert sorted(order, key=names.index) == order
    assert names[-2:] == ["Configurator.transfer_ownership", "Aggregator.transfer_ownership"]
    assert build(plan, Start(1, DEPLOYER, 7, GENESIS)).steps == deployment.steps


def test_rehearsal__any_chain_id_and_nonce__binds_the_code_to_them() -> None:
    plan = parse_plan(Path("plan.toml"), CORE)
    here, there = (rehearse(build(plan, Start(chain, DEPLOYER, 7, GENESIS)), {}) for chain in (1, 10))
    address = build(plan, Start(1, DEPLOYER, 7, GENESIS)).addresses["Aggregator"]
    assert here.code[address] != there.code[address] and here.total_gas == sum(here.gas)
    assert len(here.code[address]) == len(there.code[address])


def test_rehearsal__plan_that_the_chain_refuses__names_the_step_and_the_reason(place: Place) -> None:
    pages = "".join(PRICE.replace("number = 0", f"number = {4 * page}") for page in range(33))
    place.write(CORE + pages)
    with pytest.raises(RehearsalFailed, match=r"listing of feed 128: .*configurator: too many pages; mend the plan"):
        place.open()
    assert place.sent == 0 and not place.out.exists()


# A run


def test_run__whole_plan__everything_read_back_holds(tmp_path: Path) -> None:
    place = Place(tmp_path, WHOLE)
    session = place.run()
    assert checked(place, session) > 80
    steps, written = session.deployment.steps, place.recorded()
    assert place.sent == place.key.signed == len(steps) == len(written["steps"])
    assert written["chain_id"] == 31337 and written["unconfirmed"] == []
    assert written["aggregator"] == session.deployment.addresses["Aggregator"]
    assert written["plan_hash"] == session.deployment.plan.hash and written["compiler"]["vyper"] == "0.4.3"
    for step, stored in zip(steps, written["steps"], strict=True):
        receipt = place.w3.eth.get_transaction_receipt(stored["tx"])
        assert (stored["block"], stored["gas_used"]) == (receipt["blockNumber"], receipt["gasUsed"])
        if step.creates is not None:
            assert stored["code_hash"] == Web3.keccak(place.w3.eth.get_code(stored["address"])).to_0x_hex()
    token = contract_at(place.w3, "OracleToken", written["addresses"]["OracleToken"])
    assert token.functions.balanceOf(OWNER).call() == 10**24 == token.functions.totalSupply().call()


def test_run__gas__is_what_the_rehearsal_said(place: Place) -> None:
    session = place.run()
    used = [step["gas_used"] for step in place.recorded()["steps"]]
    # Calldata of another price for zero bytes in addresses aside, both are py-evm.
    assert used == list(session.rehearsal.gas)


def test_run__existing_token_and_deployer_as_owner__neither_made_nor_handed_over(place: Place) -> None:
    first = place.run()
    token = first.deployment.addresses["OracleToken"]
    place.file.rename(place.file.with_suffix(".old"))
    text = CORE.replace('supply = "1_000_000e18"', f'address = "{token}"').replace(OWNER, DEPLOYER)
    place.write(text + PRICE)
    session = place.run()
    names = [step.name for step in session.deployment.steps]
    assert "OracleToken" not in names and not any("transfer" in name for name in names)
    assert checked(place, session) > 30


def test_run__second_run_of_a_complete_one__sends_nothing(place: Place) -> None:
    place.run()
    sent = place.sent
    place.run()
    assert place.sent == sent == place.key.signed


# Refusal


def test_run__plan_changed_half_way__is_refused_with_the_difference(place: Place) -> None:
    place.chain.ledger.automine = False
    with pytest.raises(NotMined):
        place.run(SHORT)
    place.write(CORE + PRICE.replace("jump = 100000", "jump = 100001"))
    with pytest.raises(PlanChanged, match=r"feeds\.0\.jump: was 100000, is 100001; put these back"):
        place.run(SHORT)


def test_run__other_code_account_or_chain__is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run()
    written = place.recorded()
    changed = written | {"creation_code_hashes": written["creation_code_hashes"] | {"Slashing": "0x00"}}
    place.file.write_text(json.dumps(changed))
    with pytest.raises(SourcesChanged, match=r"Slashing; use the version"):
        place.open()
    place.file.write_text(json.dumps(written))
    place.key = Key(1)
    with pytest.raises(ConfigError, match=r"was begun by .*name that account"):
        place.open()
    place.key = Key(0)
    place.file.write_text(json.dumps(written | {"genesis": "0x12"}))
    with pytest.raises(ConfigError, match="of another chain with this id"):
        place.open()


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"format": 2}', "format 2"), ("[" * 50_000, "damaged")],
)
def test_record__damaged__is_refused_with_a_mend(place: Place, content: str, words: str) -> None:
    place.out.mkdir()
    place.file.write_text(content)
    with pytest.raises(ConfigError, match=rf"31337\.json: .*{words}.*move it away"):
        place.open()


def test_run__funds_or_fees__are_looked_at_before_anything_is_sent(place: Place) -> None:
    place.provider.answers["eth_getBalance"] = lambda params, result: "0x1"
    with pytest.raises(InsufficientFunds, match=r"holds 1 wei, the missing steps cost about \d{15,} wei"):
        place.run()
    place.provider.answers.clear()
    with pytest.raises(FeeAboveCap, match="--max-fee-gwei"):
        place.run(Pace(max_fee=10**9))
    assert place.sent == 0 == place.key.signed


def test_run__deployer_with_unmined_transactions__is_refused(place: Place) -> None:
    place.chain.ledger.automine = False
    place.other()
    with pytest.raises(ConfigError, match="1 transactions that are not mined yet"):
        place.open()


# Verification


def flipped(params: list[Any], result: str) -> str:
    return result[:-2] + f"{int(result[-2:], 16) ^ 1:02x}" if result != "0x" else result


def test_step__leaves_other_code__is_refused_at_once(place: Place) -> None:
    place.provider.answers["eth_getCode"] = flipped
    with pytest.raises(WrongCode, match=r"OracleToken: .*not what these sources give; do not use it"):
        place.run()


def test_verify__one_byte_of_code_differs__is_caught(place: Place) -> None:
    session = place.run()
    target = session.deployment.addresses["Slashing"]
    place.provider.answers["eth_getCode"] = lambda params, result: (
        flipped(params, result) if params[0].lower() == target.lower() else result
    )
    wrong = [c for c in verify(place.w3, session.deployment, session.rehearsal) if not c.holds]
    assert [check.what for check in wrong] == [f"code of Slashing at {target}"]
    with pytest.raises(Mismatch, match=r"1 of \d+ checks fail: code of Slashing"):
        refuse_mismatch(verify(place.w3, session.deployment, session.rehearsal))


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        ("setGuardian", OWNER, rf"Aggregator\.guardian\(\): expected 0x0+, found {OWNER}"),
        ("setRequestFee", 7, r"Aggregator\.requestFee\(\), at least: expected 1000, found 7"),
        ("transfer_ownership", OWNER, rf"Aggregator\.owner\(\): expected {DEPLOYER}, found {OWNER}"),
    ],
)
def test_verify__setting_changed_since__is_named_with_both_values(
    place: Place, function: str, value: object, words: str
) -> None:
    place.write((CORE + '[gates]\nrequest_fee = "1000"').replace(OWNER, DEPLOYER))
    session = place.run()
    handle = contract_at(place.w3, "Aggregator", session.deployment.addresses["Aggregator"])
    place.other(bytes.fromhex(handle.encode_abi(function, args=[value])[2:]), handle.address)
    again = reopen_session(place.w3, place.out)
    with pytest.raises(Mismatch, match=rf"1 of \d+ checks fail: {words}"):
        checked(place, again)


def test_verify__no_deployment_or_half_of_one__is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="there is no deployment for this chain"):
        reopen_session(place.w3, place.out)
    place.chain.ledger.automine = False
    with pytest.raises(NotMined):
        place.run(SHORT)
    with pytest.raises(ConfigError, match=r"0 of \d+ steps are done; finish it first"):
        reopen_session(place.w3, place.out)


# Surroundings


def test_plan__contracts_that_are_not_there__are_refused(place: Place) -> None:
    place.write(CORE.replace('supply = "1_000_000e18"', f'address = "{OWNER}"'))
    with pytest.raises(ConfigError, match=r"token\.address: there is no contract at"):
        place.open()
    place.write(CORE + f'[gates]\nsequencer = "{OWNER}"\nsequencer_grace = 3600')
    with pytest.raises(ConfigError, match=r"gates\.sequencer: there is no contract at"):
        place.open()


def answering(place: Place, decimals: int, answer: int, since: int = GENESIS) -> str:
    """A contract that answers everything with (decimals, answer, since, since, decimals): a feed, and its decimals."""
    code = b"".join(
        b"\x7f" + word.to_bytes(32, "big") + b"\x60" + bytes([32 * index]) + b"\x52"
        for index, word in enumerate((decimals, answer, since, since, decimals))
    )
    runtime = code + b"\x60\xa0\x5f\xf3"
    creation = b"\x61" + len(runtime).to_bytes(2, "big") + b"\x80\x60\x0a\x3d\x39\x3d\xf3"
    tx = place.other(creation.ljust(10, b"\0") + runtime, None, key=1)
    return str(place.w3.eth.get_transaction_receipt(tx)["contractAddress"])  # type: ignore[arg-type]


def test_reference_feed__says_the_same__is_accepted_and_twice_as_much_is_not(place: Place) -> None:
    near, far = answering(place, 18, 1_180_000_000_000_000_000), answering(place, 8, 234_900_000)
    place.write(CORE + PRICE + f'reference_feed = "{near}"')
    assert place.open().deployment.plan.feeds[0].reference_feed == near
    place.write(CORE + PRICE + f'reference_feed = "{far}"')
    with pytest.raises(ReferenceDisagrees, match=r"says 2\.349, the plan states 1\.1745, further apart than 50000 ppm"):
        place.open()


@pytest.mark.parametrize(("answer", "since"), [(2, GENESIS), (0, 0)])
def test_sequencer__source_of_another_shape__is_refused(place: Place, answer: int, since: int) -> None:
    source = answering(place, 8, answer, since)
    place.write(CORE + f'[gates]\nsequencer = "{source}"\nsequencer_grace = 3600')
    with pytest.raises(ConfigError, match=rf"answers {answer} since {since}; an uptime feed"):
        place.open()


def test_sequencer__uptime_feed__is_set_and_read_back(place: Place) -> None:
    place.write(CORE + f'[gates]\nsequencer = "{answering(place, 0, 0)}"\nsequencer_grace = 3600\n' + PRICE)
    assert checked(place, place.run()) > 40
