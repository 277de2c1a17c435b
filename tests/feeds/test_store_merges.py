"""Merging gets on: a merge that is stopped begins anew, so merges are short; and files go however many read."""

import threading
import time

import pytest

from feeds import upkeep
from feeds.partitions import Root
from feeds.store import Store, to_quotes
from feeds.types import SECOND, Micros, Quote

T0 = 1_678_500_000 * SECOND
LATER = Micros(T0 + 10**15)


def quote(known):
    return Quote("a", "X", 1.0, 1.0, Micros(T0 + known), Micros(T0 + known))


def files(folder):
    root = Root(folder)
    with root.shared():
        return root.view().partitions


@pytest.fixture(autouse=True)
def three_files_a_merge(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setattr(upkeep, "AT_ONCE", 3)


def test_compact__more_files_than_one_merge_reads__in_short_merges_to_one(tmp_path, monkeypatch):
    read, merge = [], upkeep.merge
    monkeypatch.setattr(upkeep, "merge", lambda root, group: read.append(len(group)) or merge(root, group))
    store = Store(tmp_path)
    for known in range(20):
        store.append([quote(known)])
    assert store.compact(everything=True) == (20, 1, 0)
    assert max(read) == 3
    assert [partition.rows for partition in files(tmp_path)] == [20]


def test_compact__stopped_at_every_third_merge__gets_on_all_the_same(tmp_path, monkeypatch):
    merge, merges = upkeep.merge, iter(range(1000))

    def stopped(root, group):
        if next(merges) % 3 == 2:
            raise KeyboardInterrupt
        return merge(root, group)

    monkeypatch.setattr(upkeep, "merge", stopped)
    store, runs = Store(tmp_path), 0
    for known in range(20):
        store.append([quote(known)])
    while len(files(tmp_path)) > 1:
        runs += 1
        assert runs < 10, "it begins anew each time and never gets on"
        try:
            store.compact(everything=True)
        except KeyboardInterrupt:
            continue
    assert runs > 1 and to_quotes(store.as_of(LATER)) == [quote(known) for known in range(20)]


def test_exclusive__somebody_is_always_inside__gets_in_all_the_same(tmp_path):
    root, over, inside = Root(tmp_path), threading.Event(), threading.Semaphore(0)

    def read():
        while not over.is_set():
            with root.shared():
                inside.release()
                time.sleep(0.005)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(40):
            inside.acquire()
        with root.exclusive(60.0) as held:
            assert held
            while inside.acquire(blocking=False):
                pass
            assert not inside.acquire(timeout=0.05), "somebody came in beside who is alone"
        assert inside.acquire(timeout=60.0)
    finally:
        over.set()
        for reader in readers:
            reader.join()
