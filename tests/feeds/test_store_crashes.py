"""Process, disk or power go away at any step: all that the store called safe is there, once, and it goes on."""

import errno
import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from feeds import upkeep
from feeds.partitions import Root
from feeds.sources.source import StoreDamaged
from feeds.store import Store
from feeds.types import SECOND, Micros, Quote

T0 = 1_678_500_000 * SECOND
LATER = Micros(T0 + 10**15)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(upkeep, "_PATIENCE_S", upkeep._PATIENCE_S)  # what `life` changes is put back


CALLS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "rmdir", "close")
"""Every system call by which the store changes a disk."""


def batch(number):
    known = Micros(T0 + number)
    return [Quote(f"s{i}", "X", float(number + 1), 1.0, known, known) for i in range(3)]


@contextmanager
def somebody_reading(path, opened=os.open, closed=os.close):
    """The lock of a reader, past what stands between the store and its disk."""
    handle = opened(path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield
    finally:
        closed(handle)


def life(folder, told):
    """Append and merge, twice while somebody reads, archive and remove, merge once more; `told` gets what is safe."""
    upkeep._PATIENCE_S = 0.0
    store = Store(folder / "store")
    with somebody_reading(store.path):  # so what is merged is left for later
        for numbers in ((0, 1), (2,)):
            for number in numbers:
                store.append(batch(number))
                told.append(number)
            store.compact(everything=True)
    store.compact()
    store.append(batch(3))
    told.append(3)
    store.retain(Micros(T0 + 3), folder / "archive")
    told.append("removed")
    store.append(batch(4))
    told.append(4)
    store.compact(everything=True)
    store.close()


def check(folder, told):
    """Everything told safe is there or in the archive, whole, once; one batch more may be; and the store goes on."""
    store = Store(folder / "store")
    counts = sound(store)
    archived = Store(folder / "archive").as_of(LATER)["price"] if (folder / "archive").exists() else ()
    kept, numbers = {int(p) - 1 for p in counts.index}, {n for n in told if n != "removed"}
    last = max(numbers, default=-1)
    assert numbers <= kept | {int(p) - 1 for p in archived} <= numbers | {last + 1}
    assert ({0, 1, 2} & numbers <= kept) or (store.kept_since == T0 + 3 and not {0, 1, 2} & kept)
    assert "removed" not in told or not {0, 1, 2} & kept
    store.append(batch(9))
    store.compact(everything=True)
    assert {int(p) - 1 for p in sound(store).index} == kept | {9}
    left = [p.name for p in (folder / "store").rglob("*") if p.name.startswith(".tmp-") or p.suffix == ".replaces"]
    assert left == []
    store.close()


def sound(store):
    """What a reader reads: undamaged, each quote once, batches whole."""
    root = Root(store.path)
    with root.shared():
        rows = sum(partition.rows for partition in root.view().partitions)
    counts = store.as_of(LATER).groupby("price").size()
    assert (counts == 3).all() and rows == counts.sum()
    store.verify()
    return counts


class Interposed:
    """Between the store and its disk: counts the calls that change it and does `act` at the one numbered `at`."""

    def __init__(self, patch, at, act, quick=True):
        self.at, self.act, self.count = at, act, 0
        for name in CALLS:
            patch.setattr(os, name, self.around(name, (lambda handle: None) if quick and name == "fsync" else None))

    def around(self, name, instead):
        real = getattr(os, name)

        def call(*arguments, **named):
            if name == "open" and not (arguments[1] & os.O_CREAT):
                return real(*arguments, **named)
            self.count += 1
            if self.count == self.at:
                self.act(real, name, arguments)
            return (instead or real)(*arguments, **named)

        return call


def die(real, name, arguments):
    """Just before the call, or amid it if it is a write: just after is just before the next."""
    if name == "write":
        real(arguments[0], arguments[1][: len(arguments[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


CHILD = """
import json, os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
sys.path.insert(0, "tests/feeds")
import pytest
from test_store_crashes import Interposed, die, life
home = Path(sys.argv[1])
for at in range(1, 1000):
    folder = home / str(at)
    folder.mkdir()
    pid = os.fork()
    if not pid:
        class Told(list):
            def append(self, what):
                with open(folder / "told", "a") as file:
                    file.write(json.dumps(what) + chr(10))
        Interposed(pytest.MonkeyPatch(), at, die)
        life(folder, Told())
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        print(at)
        break
"""


def test_store__killed_at_each_system_call__keeps_what_it_told_safe_and_goes_on(tmp_path, monkeypatch):
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    calls = int(done.stdout)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    assert calls > 80
    for at in range(1, calls + 1):
        told = (tmp_path / str(at) / "told").read_text().splitlines() if (tmp_path / str(at) / "told").exists() else []
        check(tmp_path / str(at), [int(line) if line.isdigit() else "removed" for line in told])


def test_store__disk_refuses_at_each_system_call__store_damaged_and_nothing_lost(tmp_path):
    def refuse(real, name, arguments):
        if name == "close":
            real(*arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    for at in range(1, 1000):
        folder, told = tmp_path / str(at), []
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            disk = Interposed(patch, at, refuse)
            try:
                life(folder, told)
            except StoreDamaged as error:
                assert "No space left on device" in str(error)
            patch.undo()
            patch.setattr(os, "fsync", lambda handle: None)
            check(folder, told)
        if disk.count < at:
            break
    assert at > 80


def test_append__file_larger_than_the_disk_allows__store_damaged_and_no_trace(tmp_path):
    store = Store(tmp_path)
    store.append(batch(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StoreDamaged, match="cannot write"):
            store.append(batch(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(store.as_of(LATER)) == 3 and list(tmp_path.rglob(".tmp-*")) == []


class Medium:
    """What of a disk outlives its power: a name or a byte that was not synced may be there, or not, or half.

    After Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), at its weakest: any part survives.
    A step is (kind, what must be synced for it to be safe, ...).
    """

    def __init__(self, patch, home, told):
        self.home, self.told, self.handles, self.inodes = home, told, {}, {}
        self.steps = []
        for name in CALLS:
            patch.setattr(os, name, self.around(name))

    def around(self, name):
        real = (lambda handle: None) if name == "fsync" else getattr(os, name)

        def call(*arguments, **named):
            result = real(*arguments, **named)
            for step in self.of(name, arguments, result):
                self.steps.append((len(self.told), *step))
            return result

        return call

    def of(self, name, arguments, result):
        first = arguments[0]
        paths = [os.fspath(a) for a in arguments if isinstance(a, str | Path)]
        if name == "open":
            self.handles[result] = paths[0]
            if arguments[1] & os.O_CREAT and paths[0] not in self.inodes:
                self.inodes[paths[0]] = len(self.steps)
                yield "put", os.path.dirname(paths[0]), paths[0], self.inodes[paths[0]], None
        elif name == "write":
            yield "data", self.inodes[self.handles[first]], bytes(arguments[1][:result])
        elif name == "fsync":
            yield "sync", self.inodes.get(self.handles[first], self.handles[first])
        elif name == "rename":
            self.inodes[paths[1]] = self.inodes.pop(paths[0])
            yield "put", os.path.dirname(paths[1]), paths[1], self.inodes[paths[1]], paths[0]
        elif name == "mkdir":
            yield "put", os.path.dirname(paths[0]), paths[0], None, None
        elif name in ("unlink", "rmdir"):
            self.inodes.pop(paths[0], None)
            yield "drop", os.path.dirname(paths[0]), paths[0]

    def survived(self, until, keeps, folder):
        """Make in `folder` what is left if power went after so many steps; `keeps()`: does an unsafe step survive?"""
        steps = [step[1:] for step in self.steps[:until]]
        synced = {step[1]: at for at, step in enumerate(steps) if step[0] == "sync"}
        names, content = {}, {}
        for at, (kind, key, *rest) in enumerate(steps):
            kept = kind != "sync" and (at < synced.get(key, -1) or keeps())
            if kind == "data":
                content[key] = content.get(key, b"") + (rest[0] if kept else rest[0][: len(rest[0]) // 2])
            elif kept and kind == "put":
                names.pop(rest[2], None)
                names[rest[0]] = rest[1]
            elif kept:
                names.pop(rest[0], None)
        for path in sorted(names):
            target = folder / os.path.relpath(path, self.home)
            if names[path] is None and target.parent.exists():
                target.mkdir()
            elif target.parent.exists():
                target.write_bytes(content.get(names[path], b""))


def test_store__power_lost_after_each_step__keeps_what_it_told_safe_and_goes_on(tmp_path, monkeypatch):
    home, told = tmp_path / "home", []
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        medium = Medium(patch, home, told)
        life(home, told)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    chance = random.Random(11)
    assert len(medium.steps) > 60
    for until in range(len(medium.steps) + 1):
        known = told if until == len(medium.steps) else told[: medium.steps[until][0]]
        for way, keeps in (("none", lambda: False), ("some", lambda: chance.random() < 0.5)):
            folder = tmp_path / f"{until}-{way}"
            folder.mkdir()
            medium.survived(until, keeps, folder)
            check(folder, known)


WRITER = """
import sys
from feeds.store import Store
from feeds.types import Quote
store = Store(sys.argv[1])
for number in range(int(sys.argv[2]), 10_000):
    known = 1_678_500_000_000_000 + number
    store.append([Quote(f"s{i}", "X", float(number + 1), 1.0, known, known) for i in range(3)])
    print(number, flush=True)
    store.compact(everything=number % 5 == 0)
"""


def writer(folder, first):
    command = [sys.executable, "-c", WRITER, str(folder), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])


def killed_again_and_again(folder, lives):
    """Start, kill at a random moment, look; returns the batches told safe."""
    chance, told = random.Random(7), []
    for _ in range(lives):
        with writer(folder, max(told, default=-1) + 1) as process:
            told.append(int(process.stdout.readline()))
            time.sleep(chance.uniform(0.0, 0.2))
            process.kill()
            told += [int(line) for line in process.stdout if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        store = Store(folder)
        counts = sound(store)
        assert set(told) <= {int(price) - 1 for price in counts.index} <= {*told, max(told) + 1}
        store.close()
        told = [int(price) - 1 for price in counts.index]
    return told


def test_store__killed_at_any_moment_and_restarted__loses_nothing_it_told_safe(tmp_path):
    assert len(killed_again_and_again(tmp_path, 3)) > 5


@pytest.mark.soak
def test_store__killed_a_hundred_times__loses_nothing_it_told_safe(tmp_path):
    assert len(killed_again_and_again(tmp_path, 100)) > 200
