"""The store among processes that are killed all the time, for as long as one likes."""

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from feeds.sources.source import NotKept
from feeds.store import Store
from feeds.types import SECOND, Micros

LATER = Micros(4_000_000_000 * SECOND)

STREAM = """
import sys, time
from feeds.store import Store
from feeds.types import Quote
store, name = Store(sys.argv[1]), sys.argv[2]
for number in range(int(sys.argv[3]), 10**9):
    known = time.time_ns() // 1000
    store.append([Quote(name, f"S{i}", float(number + 1), 1.0, known, known) for i in range(3)])
    print(number, flush=True)
    time.sleep(0.05)  # three of them write sixty files a second, as many as a node in a minute: upkeep is killed too
"""
UPKEEP = """
import sys, time
from feeds.store import Store
store = Store(sys.argv[1])
while True:
    store.compact(everything=time.time_ns() % 3 == 0)
    store.retain(time.time_ns() // 1000 - 20_000_000)
    print(0, flush=True)
"""


class Child:
    """A process that is killed at random moments and started again where it told that it was."""

    def __init__(self, script, *arguments):
        self.script, self.arguments, self.told = script, arguments, -1
        self.start()

    def start(self):
        command = [sys.executable, "-c", self.script, *map(str, self.arguments), str(self.told + 1)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])
        self.heard = b""
        os.set_blocking(self.process.stdout.fileno(), False)

    def listen(self):
        self.heard += self.process.stdout.read() or b""
        *lines, self.heard = self.heard.split(b"\n")
        self.told = int(lines[-1]) if lines else self.told

    def kill(self):
        assert self.process.poll() is None, "a child died by itself"
        self.process.kill()
        self.process.wait()
        self.listen()
        self.process.stdout.close()


def look(store):
    """By writer, its last batch; since when quotes are kept each is whole and none missing.

    One that was stored but not told before a kill is there twice: it was appended again, known later.
    """
    while True:
        try:
            frame = store.as_of(LATER, since=store.kept_since)
            break
        except NotKept:  # something was removed in between
            continue
    found = {}
    for name, part in frame.groupby("source"):
        counts = part.groupby("price").size()
        first, last = int(counts.index[0]), int(counts.index[-1])
        assert list(counts.index) == list(range(first, last + 1)) and (counts % 3 == 0).all()
        found[name] = last - 1
    return found


@pytest.mark.soak
def test_store__processes_write_merge_and_remove_and_are_killed__a_reader_misses_nothing(tmp_path):
    """For `DODONA_SOAK_SECONDS` (an hour): three writers and two that merge and remove, one killed every 2 s."""
    chance, until = random.Random(5), time.monotonic() + float(os.environ.get("DODONA_SOAK_SECONDS", "3600"))
    writers = {name: Child(STREAM, tmp_path, name) for name in ("a", "b", "c")}
    children = [*writers.values(), Child(UPKEEP, tmp_path), Child(UPKEEP, tmp_path)]
    store, reads, kill_at = Store(tmp_path), 0, time.monotonic() + 5.0
    try:
        while time.monotonic() < until:
            for child in children:
                child.listen()
            told = {name: child.told for name, child in writers.items()}
            found = look(store)
            assert all(found.get(name, -1) >= number for name, number in told.items())
            reads += 1
            if time.monotonic() > kill_at:
                child = chance.choice(children)
                child.kill()
                child.start()
                kill_at = time.monotonic() + chance.uniform(0.0, 4.0)
    finally:
        for child in children:
            child.kill()
    store.compact(everything=True)
    store.verify()
    assert reads > 10 and min(child.told for child in writers.values()) > 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20, "kibibytes: the reader grew"
