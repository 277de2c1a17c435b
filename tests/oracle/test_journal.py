from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oracle.errors import ConfigError, JournalFault, LocalFault, SlotAlreadySigned
from oracle.journal import Identity, Journal, OwnValue, PendingTransaction, open_journal

ME = Identity(1, "0x" + "AB" * 20, "0x" + "cd" * 20)
ROOT = Path(__file__).resolve().parents[2]


def digest(number: int) -> bytes:
    return number.to_bytes(32)


def test_reserve__new_slots__raise_the_mark_per_kind(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    assert journal.empty and journal.high_water("report") is None
    journal.reserve("report", 7, digest(1))
    journal.reserve("observation", 3, digest(2))
    assert (journal.high_water("report"), journal.high_water("observation")) == (7, 3)
    assert (journal.reserved("report", 7), journal.reserved("report", 6)) == (digest(1), None)
    journal.close()


def test_reserve__same_digest_again__is_allowed_after_a_restart_too(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    journal.reserve("report", 7, digest(1))
    journal.reserve("report", 7, digest(1))
    journal.close()
    journal = open_journal(tmp_path, ME)
    assert not journal.empty
    journal.reserve("report", 7, digest(1))
    journal.close()


@pytest.mark.parametrize(("slot", "number"), [(7, 2), (6, 1), (6, 2), (0, 1)])
def test_reserve__at_or_below_the_mark__is_refused(tmp_path: Path, slot: int, number: int) -> None:
    journal = open_journal(tmp_path, ME)
    journal.reserve("report", 6, digest(1))
    journal.reserve("report", 7, digest(1))
    with pytest.raises(SlotAlreadySigned, match="high-water mark is slot 7") as caught:
        journal.reserve("report", slot, digest(number))
    assert (caught.value.given, caught.value.limit) == (slot, 7)
    assert journal.reserved("report", 7) == digest(1)
    journal.close()


def test_reserve__not_a_digest__is_a_local_fault(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    with pytest.raises(LocalFault, match="32 bytes"):
        journal.reserve("report", 1, b"short")
    journal.close()


def test_reserve__pruned_far_behind__keeps_the_mark(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    journal.reserve("report", 5, digest(1))
    journal.save_values(5, 1, {0: OwnValue(1, 0)})
    journal.reserve("report", 256 * 200, digest(2))
    assert journal.reserved("report", 5) is None and journal.values(5) == {}
    with pytest.raises(SlotAlreadySigned):
        journal.reserve("report", 5, digest(1))
    journal.close()


class ReserveMachine(RuleBasedStateMachine):
    """A journal that is closed and opened again at any moment, beside the set of everything it ever allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: dict[tuple[str, int], bytes] = {}
        self.marks: dict[str, int] = {}
        self.journal: Journal | None = None

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.journal = open_journal(Path(self.folder.name), ME)

    @rule(kind=st.sampled_from(["observation", "report"]), slot=st.integers(0, 12), number=st.integers(0, 2))
    def reserve(self, kind: str, slot: int, number: int) -> None:
        assert self.journal is not None
        mark = self.marks.get(kind, -1)
        same = slot == mark and self.allowed[kind, slot] == digest(number)
        if slot > mark or same:
            self.journal.reserve(kind, slot, digest(number))
            assert self.allowed.setdefault((kind, slot), digest(number)) == digest(number)
            self.marks[kind] = slot
        else:
            with pytest.raises(SlotAlreadySigned):
                self.journal.reserve(kind, slot, digest(number))

    @rule()
    def restart(self) -> None:
        assert self.journal is not None
        self.journal.close()
        self.journal = open_journal(Path(self.folder.name), ME)
        assert self.journal.empty == (not self.allowed)

    @invariant()
    def remembers(self) -> None:
        if self.journal is not None:
            for (kind, slot), said in self.allowed.items():
                assert self.journal.reserved(kind, slot) == said
            assert {kind: self.journal.high_water(kind) for kind in self.marks} == self.marks

    def teardown(self) -> None:
        if self.journal is not None:
            self.journal.close()
            self.folder.cleanup()


TestReserve = ReserveMachine.TestCase
TestReserve.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)

SIGNER = """
import sys, os
from pathlib import Path
from oracle.errors import SlotAlreadySigned
from oracle.journal import Identity, open_journal
journal = open_journal(Path(sys.argv[1]), Identity(1, "0x" + "ab" * 20, "0x" + "cd" * 20))
salt, out = int(sys.argv[2]), open(sys.argv[3], "ab", buffering=0)
print("up", flush=True)
slot = (journal.high_water("report") or 0)
while True:
    digest = (salt * 2**32 + slot).to_bytes(32)
    try:
        journal.reserve("report", slot, digest)
        out.write(slot.to_bytes(8) + digest)
    except SlotAlreadySigned:
        pass
    slot += 1
"""


def test_reserve__killed_at_any_moment__never_signs_a_slot_twice(tmp_path: Path) -> None:
    signed, chance = tmp_path / "signed", random.Random(7)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for salt in range(6):
        command = [sys.executable, "-c", SIGNER, str(tmp_path / "journal"), str(salt), str(signed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            time.sleep(chance.uniform(0.005, 0.12))
            process.send_signal(signal.SIGKILL)
            process.wait()
    data = signed.read_bytes()
    found = [(data[at : at + 8], data[at + 8 : at + 40]) for at in range(0, len(data) - 39, 40)]
    assert len({slot for slot, _ in found}) == len({*found}) > 20
    slots = [int.from_bytes(slot) for slot, _ in found]
    assert slots == sorted(slots)
    journal = open_journal(tmp_path / "journal", ME)
    assert (journal.high_water("report") or 0) >= slots[-1]
    journal.close()


def test_open__held_by_another_process__is_refused_and_frees_with_its_death(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGNER, str(tmp_path), "1", str(tmp_path / "signed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        with pytest.raises(ConfigError, match=f"process {process.pid}.*data_dir"):
            open_journal(tmp_path, ME)
        process.kill()
        process.wait()
    open_journal(tmp_path, ME).close()


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (Identity(2, ME.aggregator, ME.key), "chain_id"),
        (Identity(1, "0x" + "00" * 20, ME.key), "aggregator"),
        (Identity(1, ME.aggregator, "0x" + "00" * 20), "key"),
    ],
)
def test_open__journal_of_another__is_refused(tmp_path: Path, other: Identity, name: str) -> None:
    open_journal(tmp_path, ME).close()
    with pytest.raises(ConfigError, match=f"has {name} .*its own data_dir"):
        open_journal(tmp_path, other)
    open_journal(tmp_path, ME).close()


def test_open__damaged_file__says_so(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(ConfigError, match="damaged"):
        open_journal(tmp_path, ME)


def test_open__folder_is_a_file__says_so(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="cannot write there"):
        open_journal(tmp_path / "data", ME)


def test_reserve__database_lost__is_a_journal_fault(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    journal.reserve("report", 1, digest(1))
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as vandal:
        vandal.execute("DROP TABLE reservations")
    with pytest.raises(JournalFault, match="nothing is signed until"):
        journal.reserve("report", 2, digest(2))
    journal.close()


def test_values__saved__come_back_and_the_first_record_stands(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    own = {0: OwnValue(-(2**127), -3), 9: OwnValue(2**127 - 1, 127)}
    journal.save_values(5, 1000, own)
    journal.save_values(5, 1001, {0: OwnValue(1, 0)})
    journal.save_values(6, 1002, {})
    assert (journal.values(5), journal.values(6), journal.values(7)) == (own, {}, {})
    journal.record_sent(5, 1000, b"first")
    journal.record_sent(5, 1000, b"second")
    journal.record_sent(8, 1003, b"alone")
    assert (journal.sent(5), journal.sent(6), journal.sent(8)) == (b"first", None, b"alone")
    journal.close()


def test_pending__saved_replaced_cleared__is_what_may_still_land(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ME)
    journal.save_pending(PendingTransaction(4, 10, digest(1), b"raw"))
    journal.save_pending(PendingTransaction(3, 9, digest(2), b"old"))
    journal.save_pending(PendingTransaction(4, 10, digest(3), b"raised fee"))
    journal.close()
    journal = open_journal(tmp_path, ME)
    assert [(p.nonce, p.raw) for p in journal.pending()] == [(3, b"old"), (4, b"raised fee")]
    journal.clear_pending(3)
    assert [p.nonce for p in journal.pending()] == [4]
    journal.close()
