"""The chain read as a whole: whether its links follow from each other, and what they say of each row.

The entries go into a database of the process's own, on disk where they are many, so that an audit's memory
does not grow with the inbox.
"""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from hookline.inbox import chain
from hookline.inbox.rules import Faults
from hookline.inbox.schema import chain_links

#: Chains have the clocks of their gateways: of entries of several chains, those of so long may be the newest.
_CLOCKS_APART_US = 60_000_000
_LINKS_AT_ONCE = 500
_KEYS_AT_ONCE = 500

FOLLOWS = "a link of the chain follows from the one before it"
COVERS = "a link of the chain covers what it was written with"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain, with its sums from its beginning on."""

    chain: int
    seq: int
    hash: bytes
    received: int
    duplicates: int
    pruned: int


@dataclass(slots=True)
class History:
    """What the chain says of one row.

    Parameters
    ----------
    entries: (time, chain, seq, leaf) by kind.
    """

    entries: dict[bytes, list[tuple[int, int, int, bytes]]] = field(default_factory=dict)

    def has(self, *kinds: bytes) -> bool:
        """Return whether there is an entry of one of these kinds."""
        return any(kind in self.entries for kind in kinds)

    def count(self, *kinds: bytes) -> int:
        """Return how many entries of these kinds there are."""
        return sum(len(self.entries.get(kind, ())) for kind in kinds)

    def leaves(self, *kinds: bytes) -> set[tuple[bytes, bytes]]:
        """Return kind and leaf of the newest entry of these kinds; of each chain's where they are close."""
        found = [(*entry, kind) for kind in kinds for entry in self.entries.get(kind, ())]
        if not found:
            return set()
        newest_us = max(found)[0]
        last = {entry[1]: entry for entry in sorted(found, key=lambda entry: entry[2])}
        return {(entry[4], entry[3]) for entry in last.values() if entry[0] >= newest_us - _CLOCKS_APART_US}


class Ledger:
    """The entries of all links, found by row."""

    def __init__(self) -> None:
        self.links = 0
        self.heads: list[Head] = []
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;"
            "CREATE TABLE entry (id BLOB, kind BLOB, leaf BLOB, at_us INTEGER, chain INTEGER, seq INTEGER);"
            "CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def read(self, connection: Connection, faults: Faults) -> None:
        """Read all links and hold them against each other."""
        last: Any = None
        statement = select(chain_links).order_by(chain_links.c.chain, chain_links.c.seq)
        for row in connection.execute(statement.execution_options(yield_per=_LINKS_AT_ONCE)):
            self.links += 1
            if last is not None and last.chain != row.chain:
                self.heads.append(_head(last))
                last = None
            # Links before the first covered nothing that is kept, and went; see thinning.py.
            if last is not None or row.seq == 1:
                _follows(row, last, faults)
            if row.entries is not None:
                self._add(row, faults)
            last = row
        if last is not None:
            self.heads.append(_head(last))
        self._database.execute("CREATE INDEX entry_id ON entry (id)")

    def _add(self, row: Any, faults: Faults) -> None:
        entries = bytes(row.entries)
        if hashlib.sha256(entries).digest() != bytes(row.digest):
            faults.add(COVERS, _name(row))
        size = chain.ENTRY_BYTES
        made = [
            (entries[at + 1 : at + 17], entries[at : at + 1], entries[at + 17 : at + size])
            for at in range(0, len(entries), size)
        ]
        self._database.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)",
            [(*entry, row.at_us, row.chain, row.seq) for entry in made],
        )

    def of(self, keys: Sequence[bytes]) -> dict[bytes, History]:
        """Return what the chain says of some rows, and mark those rows as seen."""
        found: dict[bytes, History] = {key: History() for key in keys}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            marks = ", ".join(["?"] * len(some))
            for row_key, kind, *entry in self._database.execute(
                f"SELECT id, kind, at_us, chain, seq, leaf FROM entry WHERE id IN ({marks})",  # noqa: S608
                some,
            ):
                found[row_key].entries.setdefault(kind, []).append(tuple(entry))
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(key,) for key in keys])
        return found

    def unseen(self, came: Sequence[bytes], went: bytes) -> Iterator[str]:
        """Yield the ids of rows that the chain has, that no table has, and that did not go by retention."""
        marks = ", ".join(["?"] * len(came))
        rows = self._database.execute(
            f"SELECT DISTINCT id FROM entry AS came WHERE kind IN ({marks})"  # noqa: S608
            " AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = came.id) AND NOT EXISTS"
            " (SELECT 1 FROM entry AS gone WHERE gone.id = came.id AND gone.kind = ?) ORDER BY id",
            (*came, went),
        )
        for (row_key,) in rows:
            yield str(uuid.UUID(bytes=row_key))


def _follows(row: Any, last: Any, faults: Faults) -> None:
    received, duplicates, pruned = (
        (0, 0, 0) if last is None else (last.received, last.duplicates, last.pruned)
    )
    content = chain.link_content(
        row.at_us,
        row.received - received,
        row.duplicates - duplicates,
        row.pruned - pruned,
        bytes(row.digest),
    )
    before = chain.FIRST if last is None else bytes(last.hash)
    is_next = last is None or row.seq == last.seq + 1
    if not is_next or chain.link_hash(before, content) != bytes(row.hash):
        faults.add(FOLLOWS, _name(row))


def _head(row: Any) -> Head:
    return Head(row.chain, row.seq, bytes(row.hash), row.received, row.duplicates, row.pruned)


def _name(row: Any) -> str:
    return f"link {row.seq} of chain {row.chain}"
