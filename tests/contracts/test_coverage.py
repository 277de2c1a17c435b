"""That the suite is whole: every revert reason and every external function of the contracts, as measured.

Runs behind all other contract tests and judges what they did on the embedded chain (`call_record.py`); where only part
of them ran it says so and judges nothing. A run in which all tests pass takes its evidence from passing tests.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from eth_utils.abi import function_abi_to_4byte_selector

from contracts.artifacts import artifact, contract_names
from tests.contracts.call_record import BARE, DISTINCT, CallRecord, incomplete
from tests.contracts.revert_reasons import Function, every_literal, external_functions

TESTS = Path(__file__).parents[1]
GUARDS = {"checkpoints: value above 2**208 - 1"}
"""Guards of a module that no contract of ours can trip, since its supply is below 2**96: a mock trips them."""


measured = pytest.mark.embedded("the record of calls stands in py-evm")


@pytest.fixture
def whole(request, call_record) -> CallRecord:
    """The record of a run of the whole folder."""
    if why := incomplete(request.session):
        pytest.skip(f"coverage of the contracts was not judged: {why}")
    return call_record


@pytest.fixture(scope="module")
def functions() -> list[Function]:
    return [function for name in contract_names() for function in external_functions(name)]


@pytest.fixture(scope="module")
def makers() -> dict[str, bytes]:
    """Contract -> the first bytes of its creation code, by which the record knows it."""
    return {name: artifact(name).bytecode[:DISTINCT] for name in contract_names()}


def ends_of(record: CallRecord, maker: bytes, selector: bytes) -> tuple[bool, set[str]]:
    """Whether a function ever returned, and the reasons of its reverts. Short creation codes carry arguments behind."""
    same = {known for known in record.makers if known.startswith(maker)}
    reasons = {reason for known in same for reason in record.reverted.get((known, selector), ())}
    return any((known, selector) in record.returned for known in same), reasons


def told(missing: list[str]) -> str:
    return f"{len(missing)} missing:\n" + "\n".join(missing)


def test_reasons__every_literal__stands_in_a_test():
    written = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py") if "peers" not in path.parts)
    text = re.sub(r"\\(?=[^\w\s])", "", written)
    missing = [f"{place} {reason!r}" for reason, place in every_literal().items() if reason not in text]
    assert not missing, told(missing)


def test_functions__source_and_abi__are_the_same(functions):
    abi = {
        (name, function_abi_to_4byte_selector(entry))
        for name in contract_names() for entry in artifact(name).abi if entry["type"] == "function"
    }  # fmt: skip
    assert {(function.contract, function.selector) for function in functions} == abi


def test_record__creation_codes__tell_all_contracts_apart(makers):
    for name, maker in makers.items():
        assert [other for other, code in makers.items() if code.startswith(maker) or maker.startswith(code)] == [name]


@measured
def test_contracts__whole_suite__deploys_each(whole, makers):
    missing = [name for name, maker in makers.items() if not ends_of(whole, maker, b"")[0]]
    assert not missing, told(missing)


@measured
def test_functions__whole_suite__sees_each_return(whole, functions, makers):
    missing = [str(one) for one in functions if not ends_of(whole, makers[one.contract], one.selector)[0]]
    assert not missing, told(missing)


@measured
def test_functions__whole_suite__sees_each_revert(whole, functions, makers):
    missing = [str(one) for one in functions if not ends_of(whole, makers[one.contract], one.selector)[1]]
    assert not missing, told(missing)


@measured
def test_functions__whole_suite__sees_each_that_can_refuse_do_so_for_a_reason(whole, functions, makers):
    """A function whose code holds a reason has reverted with one of them, not only for a malformed call."""
    missing = [
        f"{one}: one of {sorted(one.reasons - GUARDS)}"
        for one in functions
        if one.reasons - GUARDS and not one.reasons & ends_of(whole, makers[one.contract], one.selector)[1]
    ]
    assert not missing, told(missing)


@measured
def test_reasons__whole_suite__produces_each(whole):
    seen = whole.reasons.keys() - {BARE}
    missing = [f"{place} {reason!r}" for reason, place in every_literal().items() if reason not in seen]
    assert not missing, told(missing)
