"""Thinning the chain: what it says of rows that retention took is forgotten too, so that it does not grow.

First the entries of links go, which are nearly all of it; their hashes stay, and the chain still follows.
Links before the first one with entries cover nothing that is kept, and go as a whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from hookline.inbox import chain, counting
from hookline.inbox.schema import chain_links, dispatches, events

_OF_EVENTS = b"eirdcxq"
_OF_DISPATCHES = b"bs"
_OF_RETENTION = b"po"


@dataclass(frozen=True, slots=True)
class Place:
    """A link, by its chain and number, and when it was written."""

    at_us: int = -1
    chain: int = 0
    seq: int = 0


def candidates(connection: Connection, *, after: Place, limit: int) -> list[Place]:
    """Return the oldest links with entries that may cover nothing that is kept, as pages."""
    until_us = counting.totals(connection).get(counting.FORGOTTEN_THROUGH, 0)
    rows = connection.execute(
        select(chain_links.c.at_us, chain_links.c.chain, chain_links.c.seq)
        .where(chain_links.c.entries.is_not(None), chain_links.c.at_us.between(after.at_us, until_us))
        .order_by(chain_links.c.at_us, chain_links.c.chain, chain_links.c.seq)
        .limit(limit + 1)
    )
    return [place for row in rows if (place := Place(*row)) != after][:limit]


def thin(connection: Connection, places: Sequence[Place], *, is_oldest: bool) -> bool:
    """Drop the entries of links that cover nothing that is kept.

    Parameters
    ----------
    places: in order of their time.
    is_oldest: no link before these has entries. Only then what says that rows were pruned may go, since
        others would miss those rows.

    Returns
    -------
    Whether still no link has entries up to the last of these.
    """
    for place in places:
        here = (chain_links.c.chain == place.chain, chain_links.c.seq == place.seq)
        entries = connection.scalar(select(chain_links.c.entries).where(*here))
        if entries is None:
            continue
        if _is_kept(connection, bytes(entries), is_oldest=is_oldest):
            is_oldest = False
        else:
            connection.execute(update(chain_links).where(*here).values(entries=None))
    return is_oldest


def _is_kept(connection: Connection, entries: bytes, *, is_oldest: bool) -> bool:
    by_kind: dict[int, list[str]] = {}
    for at in range(0, len(entries), chain.ENTRY_BYTES):
        by_kind.setdefault(entries[at], []).append(str(uuid.UUID(bytes=entries[at + 1 : at + 17])))
    if not is_oldest and any(kind in by_kind for kind in _OF_RETENTION):
        return True
    for kinds, column in ((_OF_EVENTS, events.c.id), (_OF_DISPATCHES, dispatches.c.id)):
        ids = sorted({row_id for kind in kinds for row_id in by_kind.get(kind, ())})
        for start in range(0, len(ids), 500):
            some = column.in_(ids[start : start + 500])
            if connection.scalar(select(column).where(some).limit(1)) is not None:
                return True
    return False


def cut(connection: Connection, *, limit: int) -> int:
    """Delete the oldest links, which cover nothing that is kept, but the last of them; return how many."""
    gone = 0
    last = select(chain_links.c.chain, func.max(chain_links.c.seq)).group_by(chain_links.c.chain)
    for number, newest in connection.execute(last).tuples().all():
        of_chain = chain_links.c.chain == number
        first = connection.scalar(
            select(chain_links.c.seq)
            .where(of_chain, chain_links.c.entries.is_not(None))
            .order_by(chain_links.c.seq)
            .limit(1)
        )
        # The one before the first that is kept stays: the first follows from its hash.
        until = newest if first is None else first - 1
        old = select(chain_links.c.seq).where(of_chain, chain_links.c.seq < until)
        some = old.order_by(chain_links.c.seq).limit(limit)
        gone += connection.execute(delete(chain_links).where(of_chain, chain_links.c.seq.in_(some))).rowcount
    return gone
