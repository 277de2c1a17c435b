"""The journal: what this validator has signed and sent, on disk before it is signed or sent.

Why this file exists: a validator that forgets what it signed signs twice, and that is slashed. `reserve` is the one
gate in front of the key. Never in it: network, clock, or what a value means.

SQL through SQLAlchemy Core: SQLite now (WAL, `synchronous=FULL`: a committed reservation survives power loss), a schema
that PostgreSQL takes as it is. One process holds a journal at a time, by a lock on a file beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError

from oracle.errors import ConfigError, JournalFault, LocalFault, SlotAlreadySigned
from oracle.locks import Held, hold

FORMAT = "1"
KEEP_SLOTS = 20_000
"""Rows of slots older than this many behind the newest are pruned; the high-water marks never are."""

MEND_DAMAGE = "move it away and start again; never put an older copy in its place, it forgot what was signed since"

_SCHEMA = sa.MetaData()
_META = sa.Table(
    "meta",
    _SCHEMA,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(128), nullable=False),
)
_RESERVATIONS = sa.Table(
    "reservations",
    _SCHEMA,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
)
_OBSERVATIONS = sa.Table(
    "observations",
    _SCHEMA,
    sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("observed_at", sa.BigInteger, nullable=False),
    sa.Column("message", sa.LargeBinary, nullable=True),
)
_VALUES = sa.Table(
    "own_values",
    _SCHEMA,
    sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("feed", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.String(40), nullable=False),
    sa.Column("outside_run", sa.Integer, nullable=False),
)
_PENDING = sa.Table(
    "pending_transactions",
    _SCHEMA,
    sa.Column("nonce", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("slot", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose journal this is. A journal of another validator, chain or contract is refused."""

    chain_id: int
    aggregator: str
    key: str


@dataclass(frozen=True, slots=True)
class OwnValue:
    """What this node observed of one feed in one slot, and its signed count of slots outside the feed's bounds."""

    value: int
    outside_run: int


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """A transaction that was signed and may or may not have landed."""

    nonce: int
    slot: int
    hash: bytes
    raw: bytes


class Journal:
    """One validator's journal in `folder`. Open it with `open_journal`; every method is durable when it returns."""

    __slots__ = ("_engine", "_lock", "empty", "path")

    def __init__(self, path: Path, engine: Engine, lock: IO[str], empty: bool) -> None:
        self.path, self._engine, self._lock = path, engine, lock
        self.empty = empty
        """True if nothing had ever been reserved when it was opened: such a node waits before it signs."""

    def reserve(self, kind: str, slot: int, digest: bytes) -> None:
        """Claim (kind, slot) for `digest`, durably, before the key signs it.

        Asking again for the very same digest of the newest slot is allowed. Raises SlotAlreadySigned for anything else
        at or below the kind's high-water mark, JournalFault if the claim could not be made durable.
        """
        if len(digest) != 32:
            raise LocalFault(f"a digest is 32 bytes, given {len(digest)}")
        newest = sa.select(_RESERVATIONS.c.slot, _RESERVATIONS.c.digest).where(_RESERVATIONS.c.kind == kind)
        with self._write() as connection:
            row = connection.execute(newest.order_by(_RESERVATIONS.c.slot.desc()).limit(1)).first()
            if row is not None and slot <= row.slot:
                if slot == row.slot and bytes(row.digest) == digest:
                    return
                mark = int(row.slot)
                message = f"{kind} of slot {slot} refused: the journal's high-water mark is slot {mark}"
                raise SlotAlreadySigned(message, given=slot, limit=mark)
            connection.execute(sa.insert(_RESERVATIONS).values(kind=kind, slot=slot, digest=digest))
            if slot % 256 == 0:
                self._prune(connection, slot - KEEP_SLOTS, kind)

    def reserved(self, kind: str, slot: int) -> bytes | None:
        """The digest that was reserved for (kind, slot), or None."""
        where = (_RESERVATIONS.c.kind == kind) & (_RESERVATIONS.c.slot == slot)
        row = self._one(sa.select(_RESERVATIONS.c.digest).where(where))
        return None if row is None else bytes(row.digest)

    def high_water(self, kind: str) -> int | None:
        """The newest slot reserved for this kind, or None."""
        row = self._one(sa.select(sa.func.max(_RESERVATIONS.c.slot).label("slot")).where(_RESERVATIONS.c.kind == kind))
        return None if row is None or row.slot is None else int(row.slot)

    def save_values(self, slot: int, observed_at: int, values: Mapping[int, OwnValue]) -> None:
        """Record what this node observed in `slot` (feed number -> value). The first record of a slot stands."""
        rows = [
            {"slot": slot, "feed": feed, "value": str(own.value), "outside_run": own.outside_run}
            for feed, own in sorted(values.items())
        ]
        with self._write() as connection:
            if connection.execute(sa.select(_OBSERVATIONS.c.slot).where(_OBSERVATIONS.c.slot == slot)).first():
                return
            connection.execute(sa.insert(_OBSERVATIONS).values(slot=slot, observed_at=observed_at, message=None))
            if rows:
                connection.execute(sa.insert(_VALUES), rows)

    def values(self, slot: int) -> dict[int, OwnValue]:
        """What this node observed in `slot`: feed number -> value; empty where it observed nothing."""
        query = sa.select(_VALUES.c.feed, _VALUES.c.value, _VALUES.c.outside_run).where(_VALUES.c.slot == slot)
        with self._read() as connection:
            return {int(row.feed): OwnValue(int(row.value), int(row.outside_run)) for row in connection.execute(query)}

    def record_sent(self, slot: int, observed_at: int, message: bytes) -> None:
        """Record the signed observation of `slot` before it is sent. The first record of a slot stands."""
        with self._write() as connection:
            row = connection.execute(sa.select(_OBSERVATIONS.c.message).where(_OBSERVATIONS.c.slot == slot)).first()
            if row is None:
                values = {"slot": slot, "observed_at": observed_at, "message": message}
                connection.execute(sa.insert(_OBSERVATIONS).values(values))
            elif row.message is None:
                update = sa.update(_OBSERVATIONS).where(_OBSERVATIONS.c.slot == slot)
                connection.execute(update.values(message=message))

    def sent(self, slot: int) -> bytes | None:
        """The signed observation recorded for `slot`, or None."""
        row = self._one(sa.select(_OBSERVATIONS.c.message).where(_OBSERVATIONS.c.slot == slot))
        return None if row is None or row.message is None else bytes(row.message)

    def save_pending(self, pending: PendingTransaction) -> None:
        """Record a signed transaction before it is sent; it replaces the one with the same nonce."""
        values = {"nonce": pending.nonce, "slot": pending.slot, "hash": pending.hash, "raw": pending.raw}
        with self._write() as connection:
            connection.execute(sa.delete(_PENDING).where(_PENDING.c.nonce == pending.nonce))
            connection.execute(sa.insert(_PENDING).values(values))

    def pending(self) -> list[PendingTransaction]:
        """Transactions that may still land, by nonce."""
        with self._read() as connection:
            rows = connection.execute(sa.select(_PENDING).order_by(_PENDING.c.nonce)).all()
        return [PendingTransaction(int(r.nonce), int(r.slot), bytes(r.hash), bytes(r.raw)) for r in rows]

    def clear_pending(self, nonce: int) -> None:
        """Forget the transaction of this nonce: it landed, or another one took its nonce."""
        with self._write() as connection:
            connection.execute(sa.delete(_PENDING).where(_PENDING.c.nonce == nonce))

    def close(self) -> None:
        """Close the database and release the lock."""
        self._engine.dispose()
        self._lock.close()

    def _prune(self, connection: Connection, before: int, kind: str) -> None:
        old = (_RESERVATIONS.c.kind == kind) & (_RESERVATIONS.c.slot < before)
        connection.execute(sa.delete(_RESERVATIONS).where(old))
        connection.execute(sa.delete(_OBSERVATIONS).where(_OBSERVATIONS.c.slot < before))
        connection.execute(sa.delete(_VALUES).where(_VALUES.c.slot < before))

    def _one(self, query: sa.Select[Any]) -> Any:
        with self._read() as connection:
            return connection.execute(query).first()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _translated(self.path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with _translated(self.path), self._engine.begin() as connection:
            yield connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the database's errors into JournalFault."""
    try:
        yield
    except DatabaseError as error:
        message = f"{path}: the journal cannot be used ({error.orig}); nothing is signed until the disk is mended"
        raise JournalFault(message) from error


def open_journal(folder: Path, identity: Identity) -> Journal:
    """Open or create the journal of `identity` in `folder`.

    Raises ConfigError if another process holds it, if it belongs to another validator, chain or aggregator, or if it
    is damaged or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(folder / "journal.lock")
    except Held as other:
        mend = "stop that process, or give this node its own [node] data_dir"
        raise ConfigError(f"{folder}: another node (process {other.holder}) uses this journal; {mend}") from other
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write there ({error.strerror}); mend [node] data_dir") from error
    path = folder / "journal.sqlite"
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    try:
        with engine.connect() as connection:
            _check_pages(connection, path)
        _SCHEMA.create_all(engine)
        with engine.begin() as connection:
            _check_identity(connection, path, identity)
            empty = connection.execute(sa.select(_RESERVATIONS.c.slot).limit(1)).first() is None
    except DatabaseError as error:
        engine.dispose()
        lock.close()
        raise ConfigError(f"{path}: the journal is damaged ({error.orig}); {MEND_DAMAGE}") from error
    except ConfigError:
        engine.dispose()
        lock.close()
        raise
    return Journal(path, engine, lock, empty)


def _check_pages(connection: Connection, path: Path) -> None:
    """A file that was cut short opens well and fails, or forgets, later: have SQLite look at all of it now."""
    found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    if found != "ok":
        raise ConfigError(f"{path}: the journal is damaged ({' '.join(found.split())}); {MEND_DAMAGE}")


def _check_identity(connection: Connection, path: Path, identity: Identity) -> None:
    wanted = {
        "format": FORMAT,
        "chain_id": str(identity.chain_id),
        "aggregator": identity.aggregator.lower(),
        "key": identity.key.lower(),
    }
    found = {row.name: row.value for row in connection.execute(sa.select(_META))}
    if not found:
        connection.execute(sa.insert(_META), [{"name": name, "value": value} for name, value in wanted.items()])
        return
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ConfigError(
                f"{path}: this journal has {name} {found.get(name)}, the settings say {value}; "
                f"give every validator, chain and contract its own data_dir"
            )


def _on_connect(connection: Any, _record: Any) -> None:
    """Durable settings; the driver's own transaction handling is off so that BEGIN is ours."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    """Take the write lock at once: two readers that both mean to write must not both see the old mark."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
