"""The chain: what every commit wrote, as hashes, each link with the hash of the one before.

A link is written in the transaction that it covers, one for a whole group commit. Its entries name the rows
and hold a salted hash of what must not change in each. Each backend of PostgreSQL has a chain of its own, or
gateways side by side would wait for each other's commit; SQLite has one. `proving.py` holds the tables
against it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import Connection

from hookline.inbox.driver import Driver

#: An event's salt is followed by the hash of how its body came, which its own hash so covers too.
SALT_BYTES = 16
LEAF_BYTES = 16
#: A kind, a row's id and a leaf.
ENTRY_BYTES = 1 + 16 + LEAF_BYTES
#: What a chain begins with.
FIRST = bytes(32)

# What an entry says of a row. Never given another meaning: they are in people's inboxes.
ACCEPTED = b"e"
#: Accepted and routed at once, as no trigger expects its type.
IGNORED = b"i"
DUPLICATE = b"d"
#: A duplicate with another body.
CONFLICT = b"c"
ROUTED = b"r"
#: A dispatch was made; what it was settled as, and whatever changed in that since.
MADE = b"b"
SETTLED = b"s"
#: Retention took the event with all that hangs on it, one of its dispatches, or its body alone.
PRUNED = b"p"
DISPATCH_PRUNED = b"o"
BODY_PRUNED = b"q"
#: A person's data was taken out of the event.
ERASED = b"x"

_NO_LEAF = bytes(LEAF_BYTES)
_NOTES = "hookline.chain"

#: What must not change in an event.
EVENT_FIELDS = (
    "id", "door", "source", "source_id", "type", "subject", "time_us", "accepted_us", "digest", "size",
    "by_reference", "cause_event", "cause_flow_run", "cause_task_run", "depth", "traceparent", "tracestate",
    "verdict", "remote",
)  # fmt: skip
#: What must not change in a dispatch, from its making and from its settling on.
MADE_FIELDS = ("id", "event_id", "trigger_id", "replay", "trigger_set", "lane", "created_us")
SETTLED_FIELDS = (
    "id", "event_id", "status", "reason", "response", "merged_into", "replaced_by", "flow_run_id",
    "deployment_id", "run_created_us",
)  # fmt: skip

made_values = itemgetter(*MADE_FIELDS)
_SETTLED_COLUMNS = ", ".join((*SETTLED_FIELDS, "salt"))
_OPEN = ("pending", "held")

# One statement for a link: it is part of every commit. No two backends of PostgreSQL have the same number at
# the same time, so that nobody waits here.
_NEXT = (
    "INSERT INTO chain_links (chain, seq, at_us, received, duplicates, pruned, digest, entries, hash)"
    " SELECT chain, seq + 1, ?, received + ?, duplicates + ?, pruned + ?, ?, ?, {hash}"
    " FROM chain_links WHERE chain = {chain} ORDER BY seq DESC LIMIT 1"
)
_FIRST = (
    "INSERT INTO chain_links (chain, seq, at_us, received, duplicates, pruned, digest, entries, hash)"
    " VALUES ({chain}, 1, ?, ?, ?, ?, ?, ?, ?)"
)
_SQLITE = {"chain": "0", "hash": "chain_hash(hash, ?)"}
_POSTGRESQL = {"chain": "pg_backend_pid()", "hash": "sha256(hash || ?::bytea)"}
_STATEMENTS = {
    name: (_NEXT.format(**words), _FIRST.format(**words))
    for name, words in (("sqlite", _SQLITE), ("postgresql", _POSTGRESQL))
}


@dataclass(slots=True)
class _Notes:
    """What the transaction has written so far."""

    entries: list[bytes] = field(default_factory=list)
    received: int = 0
    duplicates: int = 0
    pruned: int = 0


def begin(connection: Connection) -> None:
    """Forget what was noted by a transaction that was undone."""
    connection.info.pop(_NOTES, None)


def note(
    connection: Connection,
    entries: Sequence[bytes],
    *,
    received: int = 0,
    duplicates: int = 0,
    pruned: int = 0,
) -> None:
    """Add entries to the link that this transaction will end with.

    Parameters
    ----------
    received, duplicates, pruned: by how much these counts of events grow.
    """
    notes: _Notes | None = connection.info.get(_NOTES)
    if notes is None:
        notes = connection.info[_NOTES] = _Notes()
    notes.entries += entries
    notes.received += received
    notes.duplicates += duplicates
    notes.pruned += pruned


def link(connection: Connection) -> None:
    """Write the transaction's link, if it noted anything; to be called right before its commit."""
    notes: _Notes | None = connection.info.pop(_NOTES, None)
    if notes is None or not notes.entries:
        return
    entries = b"".join(notes.entries)
    at_us = time.time_ns() // 1000
    digest = hashlib.sha256(entries).digest()
    content = link_content(at_us, notes.received, notes.duplicates, notes.pruned, digest)
    values = (at_us, notes.received, notes.duplicates, notes.pruned, digest, entries)
    following, first = _STATEMENTS[connection.dialect.name]
    driver = Driver(connection)
    if not driver.run(following, (*values, content)).rowcount:
        driver.run(first, (*values, link_hash(FIRST, content)))


def link_content(at_us: int, received: int, duplicates: int, pruned: int, digest: bytes) -> bytes:
    """Return the hash of what a link says: by how much the sums grow, and its entries by their digest."""
    return hashlib.sha256(struct.pack(">4q", at_us, received, duplicates, pruned) + digest).digest()


def link_hash(before: bytes, content: bytes) -> bytes:
    """Return a link's hash from that of the link before it; the databases do the same."""
    return hashlib.sha256(before + content).digest()


def key(row_id: str) -> bytes:
    """Return a row's id as 16 bytes."""
    try:
        made = bytes.fromhex(row_id.replace("-", ""))
    except ValueError:
        made = b""
    # Whoever writes rows by hand may have ids of another form.
    return made if len(made) == 16 else hashlib.blake2b(row_id.encode(), digest_size=16).digest()


def leaf(salt: bytes, values: Any) -> bytes:
    """Return the salted hash of a row's values.

    The salt is kept in the row and goes with it: from then on nobody can find out by trying what was in it.
    """
    return hashlib.sha256(salt + orjson.dumps(values, default=bytes.hex)).digest()[:LEAF_BYTES]


def envelope_leaf(salt: bytes, body_format: str, content_type: str, headers: str) -> bytes:
    """Return the salted hash of how a body came."""
    text = f"{body_format}\0{content_type}\0{headers}"
    return hashlib.sha256(salt[:SALT_BYTES] + text.encode()).digest()[:LEAF_BYTES]


def salts(number: int) -> list[bytes]:
    """Return new salts, all for one call of the system."""
    random = os.urandom(SALT_BYTES * number)
    return [random[start : start + SALT_BYTES] for start in range(0, len(random), SALT_BYTES)]


def routed_leaf(routed_us: int | None, trigger_set: int | None) -> bytes:
    """Return the hash of an event's routing."""
    return leaf(b"", (routed_us, trigger_set))


# What is noted by name -------------------------------------------------------------------------------


def note_routed(connection: Connection, event_ids: Sequence[str], routed_us: int, trigger_set: int) -> None:
    """Note that events were routed."""
    of_all = routed_leaf(routed_us, trigger_set)
    note(connection, [ROUTED + key(event_id) + of_all for event_id in sorted(event_ids)])


def note_made(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Note new dispatches, and those among them that are settled from the start."""
    entries = []
    for row in rows:
        row_key = key(row["id"])
        entries.append(MADE + row_key + leaf(row["salt"], made_values(row)))
        if row["status"] not in _OPEN:
            settled = [row.get(name) for name in SETTLED_FIELDS]
            entries.append(SETTLED + row_key + leaf(row["salt"], settled))
    note(connection, entries)


def note_settled(connection: Connection, column: str, value: str) -> None:
    """Note dispatches as they stand after a change of what they were settled as.

    Parameters
    ----------
    column, value: which; those that an older version made have no salt and are left out.
    """
    found = Driver(connection).run(
        f"SELECT {_SETTLED_COLUMNS} FROM dispatches WHERE {column} = ?"  # noqa: S608 # names of ours
        " AND salt IS NOT NULL AND status NOT IN ('pending', 'held')",
        (value,),
    )
    note(
        connection,
        [SETTLED + key(row[0]) + leaf(bytes(row[-1]), row[:-1]) for row in found.fetchall()],
    )


def note_gone(connection: Connection, kind: bytes, ids: Sequence[str]) -> None:
    """Note that retention took rows."""
    pruned = len(ids) if kind == PRUNED else 0
    note(connection, [kind + key(row_id) + _NO_LEAF for row_id in ids], pruned=pruned)


def note_again(connection: Connection, event_id: str, *, conflict: bool) -> None:
    """Note a duplicate of an event."""
    note(connection, [(CONFLICT if conflict else DUPLICATE) + key(event_id) + _NO_LEAF], duplicates=1)
