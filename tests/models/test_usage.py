"""The book of usage: one run counts once, nothing half-written counts, nothing written changes unseen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Values
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, multiple, rule

from models.bundle import Bundle
from models.train import train
from models.usage import (
    GENESIS,
    NOBODY,
    BadUse,
    Run,
    UnrecordedRoots,
    UsageConflict,
    UsageDamaged,
    UsageError,
    UsageLog,
    Use,
    parse_line,
)
from tests.models.test_train import recipe, series

HASHES = st.integers(0, 7).map(lambda n: "0x" + f"{n:064x}")
PROVIDERS = st.integers(0, 3).map(lambda n: "0x" + f"{n:040x}")
SPANS = st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)).map(lambda pair: (min(pair), max(pair)))
CHUNKS = st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))
USES = st.builds(Use, HASHES, PROVIDERS, CHUNKS, st.integers(1, 10**6), st.integers(1, 100), SPANS)
RUNS = st.builds(Run, HASHES, HASHES, st.lists(USES, min_size=1, max_size=4, unique_by=lambda use: use.root).map(tuple))


def one(number: int = 1, **changes: object) -> Use:
    use = Use("0x" + f"{number:064x}", NOBODY, (0, 4), 100, 2, (5, 9))
    return replace(use, **changes)  # type: ignore[arg-type]


def run(number: int, *uses: Use) -> Run:
    return Run("0x" + f"{number:064x}", "0x" + f"{number + 100:064x}", uses or (one(),))


class Book(RuleBasedStateMachine):
    """A book whose writer is killed at any byte of a line, beside a dictionary that never is."""

    runs = Values("runs")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.log = UsageLog(Path(self.folder.name) / "book")
        self.model: dict[str, Run] = {}

    @rule(target=runs, run=RUNS)
    def record(self, run: Run):
        known = self.model.get(run.run)
        if known is not None and known != run:
            with pytest.raises(UsageConflict):
                self.log.record(run)
            return multiple()
        assert self.log.record(run) is (known is None)
        self.model[run.run] = run
        return run

    @rule(run=runs)
    def record_again(self, run: Run) -> None:
        before = self.log.head
        assert self.log.record(run) is False
        assert self.log.head == before

    @rule(run=RUNS, share=st.floats(0.0, 1.0, exclude_max=True))
    def killed_while_writing(self, run: Run, share: float) -> None:
        if run.run in self.model:
            return
        book = self.log.path.read_bytes() if self.log.path.exists() else b""
        size = book.rfind(b"\n") + 1  # a line that was cut short before goes first
        self.log.record(run)
        written = self.log.path.stat().st_size - size
        os.truncate(self.log.path, size + int(share * written))
        assert run.run not in {known.run for known in self.log.runs()}

    @invariant()
    def says_what_was_recorded(self) -> None:
        if not hasattr(self, "log"):
            return
        assert {known.run: known for known in self.log.runs()} == self.model
        for count in self.log.counts():
            held = [(r, u) for r in self.model.values() for u in r.uses]
            uses = [(r, u) for r, u in held if (u.root, u.provider) == (count.root, count.provider)]
            assert count.runs == len(uses) and count.rows == sum(u.rows for _, u in uses)
            assert count.row_epochs == sum(u.rows * u.epochs for _, u in uses)
            assert count.bundle_hashes == tuple(sorted({r.bundle for r, _ in uses})) and count.bundles <= count.runs
            assert count.chunks == len({c for _, u in uses for c in range(*u.chunks)})

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


WRITER = """
import sys
from pathlib import Path
from models.usage import NOBODY, Run, UsageLog, Use
log = UsageLog(Path(sys.argv[1]))
start = len(log.runs())
for number in range(start, start + 100_000):
    use = Use("0x" + f"{number % 3:064x}", NOBODY, (0, 4), 100, 2, (5, 9))
    log.record(Run("0x" + f"{number:064x}", "0x" + f"{number:064x}", (use,)))
    print(number, flush=True)
"""


def test_record__killed_at_any_moment__every_reported_run_is_there_and_no_half(tmp_path: Path) -> None:
    reported = -1
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "book")], stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        assert child.stdout is not None
        for _line in range(7):
            reported = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        reported = int(rest[-1]) if rest else reported
        found = UsageLog(tmp_path / "book").runs()
        assert [int(r.run, 16) for r in found] == list(range(len(found))) and len(found) in (reported + 1, reported + 2)


def test_record__several_writers__all_runs_once_and_the_chain_holds(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: UsageLog(tmp_path / "book").record(run(n % 20)), range(40)))
    assert sum(done) == 20 and len(UsageLog(tmp_path / "book").runs()) == 20


def test_record__no_folder__told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot write the book"):
        UsageLog(tmp_path / "none" / "book").record(run(1))
    assert UsageLog(tmp_path / "book").runs() == () and UsageLog(tmp_path / "book").head == GENESIS


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_runs__a_byte_of_an_older_line_changed__damage_told(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = UsageLog(Path(folder) / "book")
        for number in range(3):
            log.record(run(number))
        book, head = bytearray(log.path.read_bytes()), log.head
        place = data.draw(st.integers(0, len(book) - 2))
        book[place] ^= data.draw(st.integers(1, 255))
        log.path.write_bytes(bytes(book))
        last = place > bytes(book).rstrip(b"\n").rfind(b"\n")
        try:
            log.runs()
        except UsageDamaged as damage:
            assert "restore the book" in str(damage)
        else:
            assert last and log.head != head, "only the newest line can change unseen, and then the head tells"


@given(line=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_parse_line__any_bytes__run_or_bad_use(line: bytes) -> None:
    with pytest.raises(BadUse):
        parse_line(line)


@given(run=RUNS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_parse_line__damaged_line__run_or_bad_use(run: Run, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = UsageLog(Path(folder) / "book")
        log.record(run)
        good = log.path.read_bytes().rstrip(b"\n")
    assert parse_line(good) == (run, GENESIS)
    fields = json.loads(good)
    name = data.draw(st.sampled_from(sorted(fields)))
    values = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
    fields[name] = data.draw(values | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))
    with pytest.raises(BadUse):
        parse_line(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("root", "0x12"), ("provider", "0x" + "A" * 40), ("chunks", (4, 4)), ("chunks", (4, 2)), ("chunks", [0, 4]),
        ("rows", 0), ("rows", 1.0), ("rows", True), ("epochs", 0), ("span", (9, 5)), ("span", (0, 2**60)),
    ],
)  # fmt: skip
def test_use__outside_its_bounds__refused(field: str, given: object) -> None:
    with pytest.raises(BadUse, match=field):
        one(**{field: given})


def test_book__longer_than_the_limit__refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr("models.usage.MAX_BOOK", 64)
    with (tmp_path / "book").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it takes no room on the disk
    with pytest.raises(UsageError, match="begin another"):
        UsageLog(tmp_path / "book").runs()


def test_book__a_line_nested_deeply_and_a_high_limit_of_recursion__damaged(tmp_path):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        (tmp_path / "book").write_bytes(b"[" * 60_000 + b"\n")
        with pytest.raises(UsageDamaged, match="line 1"):
            UsageLog(tmp_path / "book").runs()
    finally:
        sys.setrecursionlimit(before)


def test_run__no_use_or_one_root_twice__refused() -> None:
    for uses in ((), (one(), one(rows=7)), tuple(one(n) for n in range(17))):
        with pytest.raises(BadUse, match="uses"):
            Run("0x" + "1" * 64, "0x" + "2" * 64, uses)


def test_train__with_a_book__roots_in_bundle_and_book_and_once_however_often(tmp_path: Path) -> None:
    ts, close = series()
    walk, log = recipe("random_walk"), UsageLog(tmp_path / "book")
    sets = (one(7, rows=800, provider="0x" + "ab" * 20), one(8))
    bundle = train(walk, ts, close, "EUR/USD", tmp_path / "cache", progress=False, sets=sets, usage=log)
    assert bundle.manifest.data_roots[1:] == (sets[0].root, sets[1].root)
    (noted,) = log.runs()
    assert noted.bundle == bundle.hash and {use.root for use in noted.uses} == set(bundle.manifest.data_roots)
    for cache in (tmp_path / "cache", None):
        again = train(walk, ts, close, "EUR/USD", cache, progress=False, sets=sets, usage=log)
        assert again.hash == bundle.hash
    (count,) = log.counts(provider="0x" + "ab" * 20)
    assert (count.runs, count.bundles, count.rows, count.row_epochs, count.chunks) == (1, 1, 800, 800, 4)
    log.check(bundle)


def test_train__cached_before_there_was_a_book__trained_again_and_recorded(tmp_path: Path) -> None:
    ts, close = series()
    walk, log = recipe("random_walk"), UsageLog(tmp_path / "book")
    first = train(walk, ts, close, "EUR/USD", tmp_path, progress=False)
    assert train(walk, ts, close, "EUR/USD", tmp_path, progress=False, usage=log).hash == first.hash
    assert [noted.bundle for noted in log.runs()] == [first.hash]


def test_train__network__epochs_of_its_final_fit_are_counted(tmp_path: Path) -> None:
    log = UsageLog(tmp_path / "book")
    train(recipe("tcn"), *series(), "EUR/USD", progress=False, usage=log)
    (noted,) = log.runs()
    assert noted.uses[0].epochs in (1, 2) and noted.uses[0].rows == 900 and noted.uses[0].provider == NOBODY


def test_check__root_claimed_or_hidden__told(tmp_path: Path) -> None:
    ts, close = series()
    log = UsageLog(tmp_path / "book")
    bundle = train(recipe("random_walk"), ts, close, "EUR/USD", progress=False, sets=(one(7),), usage=log)
    boast = Bundle(replace(bundle.manifest, data_roots=(*bundle.manifest.data_roots, one(9).root)), bundle.tensors)
    with pytest.raises(UnrecordedRoots, match="claims 3 roots that no run used"):  # another manifest is another bundle
        log.check(boast)
    shy = Bundle(replace(bundle.manifest, data_roots=()), bundle.tensors)
    log.record(Run("0x" + "9" * 64, shy.hash, (one(7),)))
    with pytest.raises(UnrecordedRoots, match="hides 1 that one did"):
        log.check(shy)
