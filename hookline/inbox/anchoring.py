"""Anchors: a short value, kept elsewhere, that later proves that nothing before it was changed.

The chain is in the same database as what it proves: whoever can write there can write all of it anew. An
anchor is the hash of the ends of all chains at a moment; what they were is kept beside it, and never goes.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, func, insert, select

from hookline.errors import AnchorUnusable
from hookline.inbox.records import from_micros
from hookline.inbox.rules import Fault, Faults
from hookline.inbox.schema import chain_anchors, chain_links, events

_WRITTEN = re.compile(r"([0-9a-f]{12})-([1-9][0-9]{0,8})-([0-9a-f]{32})")

UNKNOWN = "the inbox knows the anchor"
CHANGED = "what an anchor was taken of is as it was"


@dataclass(frozen=True, slots=True)
class Anchor:
    """An anchor as it is written.

    Parameters
    ----------
    inbox: whose it is; see `Inbox.identity`.
    number: which of this inbox's anchors.
    digest: of the ends of all chains.
    """

    inbox: str
    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.inbox}-{self.number}-{self.digest}"


@dataclass(frozen=True, slots=True)
class Since:
    """What an anchor proves.

    Parameters
    ----------
    at: when it was taken; None where the inbox does not know it.
    accepted: events that had been accepted by then.
    pruned: events that retention has taken since.
    erased: events from which a person's data was taken since.
    faults: what is not as it was.
    """

    at: datetime | None
    accepted: int
    pruned: int
    erased: int
    faults: tuple[Fault, ...]


def read_anchor(text: str, identity: str) -> Anchor:
    """Read an anchor that somebody kept.

    Raises
    ------
    AnchorUnusable: it is none, or another inbox's.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise AnchorUnusable(
            f"{text!r} is no anchor: it is what `hookline audit --anchor` printed, as in"
            " 1f0c5a9be240-3-9f86d081884c7d659a2feaa0c55ad015"
        )
    anchor = Anchor(found[1], int(found[2]), found[3])
    if anchor.inbox != identity:
        raise AnchorUnusable(
            f"The anchor {text} is of another inbox ({anchor.inbox}; this one is {identity}): set"
            " HOOKLINE_DATA or HOOKLINE_DATABASE to the one that it was taken of"
        )
    return anchor


def take_anchor(connection: Connection, identity: str) -> Anchor:
    """Write down where all chains end; return the anchor of that."""
    number = int(connection.scalar(select(func.max(chain_anchors.c.number))) or 0) + 1
    at_us = time.time_ns() // 1000
    document = orjson.dumps([[*head[:2], bytes(head[2]).hex(), *head[3:]] for head in _heads(connection)])
    connection.execute(
        insert(chain_anchors), {"number": number, "at_us": at_us, "document": document.decode()}
    )
    return Anchor(identity, number, _digest(identity, number, at_us, document.decode()))


def since_anchor(connection: Connection, anchor: Anchor) -> Since:
    """Hold the chains against what an anchor was taken of; that each follows from itself is proved apart."""
    faults = Faults()
    row = connection.execute(select(chain_anchors).where(chain_anchors.c.number == anchor.number)).first()
    if row is None:
        faults.add(
            f"{UNKNOWN}: it was restored from a backup that is older than the anchor, or somebody took the"
            " record out",
            str(anchor),
        )
        return Since(None, 0, 0, 0, faults.found())
    if _digest(anchor.inbox, row.number, row.at_us, row.document) != anchor.digest:
        faults.add(CHANGED, f"the record of anchor {row.number}")
        return Since(None, 0, 0, 0, faults.found())
    now = {head[0]: head for head in _heads(connection)}
    accepted, pruned = 0, 0
    for chain, seq, digest, received, duplicates, pruned_then in orjson.loads(row.document):
        accepted += received
        pruned -= pruned_then
        link = connection.execute(
            select(chain_links).where(chain_links.c.chain == chain, chain_links.c.seq == seq)
        ).first()
        head = now.get(chain)
        if head is None or head[1] < seq:
            faults.add(CHANGED, f"chain {chain} went on to link {seq}, and now ends before it")
            continue
        pruned += head[5]
        # Where it is gone, so is all that it covers: see thinning.py.
        if link is not None and (
            (bytes(link.hash).hex(), link.received, link.duplicates, link.pruned)
            != (digest, received, duplicates, pruned_then)
        ):
            faults.add(CHANGED, f"link {seq} of chain {chain}")
    for chain, head in now.items():
        if chain not in {each[0] for each in orjson.loads(row.document)}:
            pruned += head[5]
    beginning = connection.scalar(select(chain_anchors.c.document).where(chain_anchors.c.number == 0))
    if beginning is not None:
        accepted += orjson.loads(beginning)["received"]
    erased = connection.scalar(select(func.count()).select_from(events).where(events.c.erased_us > row.at_us))
    return Since(from_micros(row.at_us), accepted, pruned, int(erased or 0), faults.found())


def _heads(connection: Connection) -> list[Any]:
    last = select(chain_links.c.chain, func.max(chain_links.c.seq).label("seq")).group_by(chain_links.c.chain)
    ends = last.subquery()
    columns = (chain_links.c[name] for name in ("chain", "seq", "hash", "received", "duplicates", "pruned"))
    return list(
        connection.execute(
            select(*columns)
            .join(ends, (ends.c.chain == chain_links.c.chain) & (ends.c.seq == chain_links.c.seq))
            .order_by(chain_links.c.chain)
        )
    )


def _digest(identity: str, number: int, at_us: int, document: str) -> str:
    return hashlib.sha256(f"{identity} {number} {at_us} {document}".encode()).hexdigest()[:32]
