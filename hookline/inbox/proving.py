"""The tables held against the chain: nothing was altered, taken out or put in since it was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Select, select

from hookline.inbox import chain, counting
from hookline.inbox.ledger import History, Ledger
from hookline.inbox.recording import body_digest
from hookline.inbox.records import ACTIVE, from_micros, to_micros
from hookline.inbox.rules import Fault, Faults
from hookline.inbox.schema import bodies, chain_anchors, dispatches, events

ROWS_AT_ONCE = 1000

LOST = "an event that was accepted is kept until retention takes it"
ALTERED = "an event is as it was accepted"
STRANGE = "an event came through this inbox's door"
ROUTING = "an event was routed as the chain says"
COUNTED = "an event's duplicates are those that came"
BODY_LOST = "a body is kept until retention takes it"
BACK = "what was forgotten or erased stays so"
BODY_ALTERED = "a body is as it was received"
DISPATCH_LOST = "a dispatch is kept until retention takes its event"
DISPATCH_ALTERED = "a dispatch is as it was made and settled"
DISPATCH_STRANGE = "a dispatch was made by this inbox's routing"


@dataclass(frozen=True, slots=True)
class Proof:
    """What the chain proves.

    Parameters
    ----------
    began: when the chain began.
    links: how many are kept.
    covered: events that it covers.
    before: events that are older than the chain, or that an older version wrote beside it: of these it can
        only prove how many there are.
    erased: events from which a person's data was taken.
    faults: what does not hold.
    """

    began: datetime
    links: int
    covered: int
    before: int
    erased: int
    faults: tuple[Fault, ...]


def prove(connection: Connection, *, deep: bool = False, older_until: datetime | None = None) -> Proof:
    """Hold the tables against the chain, all at one moment.

    Parameters
    ----------
    deep: read every body too, and compare it with its digest.
    older_until: until then an older version, which knows no chain, wrote to this inbox too.
    """
    proving = _Proving(connection, deep, older_until)
    try:
        return proving.run()
    finally:
        proving.ledger.close()


class _Proving:
    """One run over chain and tables."""

    def __init__(self, connection: Connection, deep: bool, older_until: datetime | None) -> None:
        self.connection = connection
        self.deep = deep
        self.older_us = None if older_until is None else to_micros(older_until)
        self.ledger = Ledger()
        self.faults = Faults()
        self.kept = self.before = self.beside = self.erased = 0
        self.began_us, self.at_beginning = _beginning(connection)

    def run(self) -> Proof:
        """Read everything once."""
        self.ledger.read(self.connection, self.faults)
        has_older = self.at_beginning["received"] > self.at_beginning["pruned"]
        for rows, histories in self._rows(_events(self.deep)):
            for row, history in zip(rows, histories, strict=True):
                self._event(row, history, has_older)
        for event_id in self.ledger.unseen((chain.ACCEPTED, chain.IGNORED, chain.ERASED), chain.PRUNED):
            self.faults.add(LOST, event_id)
        for rows, histories in self._rows(select(dispatches).order_by(dispatches.c.id)):
            for row, history in zip(rows, histories, strict=True):
                self._dispatch(row, history)
        for dispatch_id in self.ledger.unseen((chain.MADE,), chain.DISPATCH_PRUNED):
            self.faults.add(DISPATCH_LOST, dispatch_id)
        self._sums()
        return Proof(
            from_micros(self.began_us), self.ledger.links, self.kept, self.before + self.beside, self.erased,
            self.faults.found(),
        )  # fmt: skip

    def _rows(self, statement: Select[Any]) -> Iterator[tuple[Sequence[Row[Any]], list[History]]]:
        found = self.connection.execute(statement.execution_options(yield_per=ROWS_AT_ONCE))
        for rows in found.partitions():
            keys = [chain.key(row.id) for row in rows]
            histories = self.ledger.of(keys)
            yield rows, [histories[row_key] for row_key in keys]

    def _event(self, row: Row[Any], history: History, has_older: bool) -> None:
        if history.has(chain.PRUNED):
            self.faults.add(BACK, row.id)
        newest = history.leaves(chain.ACCEPTED, chain.IGNORED, chain.ERASED)
        if not newest:
            self._outside(row, has_older)
        else:
            self.kept += 1
            values = [getattr(row, name) for name in chain.EVENT_FIELDS]
            more = {
                chain.ACCEPTED: (),
                chain.IGNORED: (row.routed_us, row.trigger_set),
                chain.ERASED: (row.erased_us,),
            }
            salt = b"" if row.salt is None else bytes(row.salt)
            if not any(chain.leaf(salt, (*values, *more[kind])) == leaf for kind, leaf in newest):
                self.faults.add(ALTERED, row.id)
            if history.has(chain.ACCEPTED, chain.IGNORED):
                self._came_again(row, history)
        self._routing(row, history, bool(newest))
        self._body(row, history, bool(newest))

    def _outside(self, row: Row[Any], has_older: bool) -> None:
        if row.salt is None and row.accepted_us < self.began_us and has_older:
            self.before += 1
        elif row.salt is None and self._is_older(row.accepted_us):
            self.beside += 1
        else:
            self.faults.add(STRANGE, row.id)

    def _is_older(self, at_us: int | None) -> bool:
        """Return whether an older version may have written what has this time."""
        return self.older_us is not None and at_us is not None and at_us <= self.older_us

    def _came_again(self, row: Row[Any], history: History) -> None:
        again, conflicts = history.count(chain.DUPLICATE, chain.CONFLICT), history.count(chain.CONFLICT)
        if (row.duplicates, row.conflicts) != (again, conflicts) and not (
            self.older_us is not None and row.duplicates >= again and row.conflicts >= conflicts
        ):
            self.faults.add(COUNTED, row.id)

    def _routing(self, row: Row[Any], history: History, is_covered: bool) -> None:
        if history.has(chain.IGNORED):
            return  # its routing is part of its leaf, or, where it was erased, goes without
        routed = history.leaves(chain.ROUTED)
        if routed:
            is_so = (chain.ROUTED, chain.routed_leaf(row.routed_us, row.trigger_set)) in routed
        else:
            is_so = not is_covered or row.routed_us is None or not history.has(chain.ACCEPTED)
        if not is_so and not (not routed and self._is_older(row.routed_us)):
            self.faults.add(ROUTING, row.id)

    def _body(self, row: Row[Any], history: History, is_covered: bool) -> None:
        is_gone = history.has(chain.BODY_PRUNED, chain.ERASED)
        if row.body_of is None:
            if is_covered and not is_gone:
                self.faults.add(BODY_LOST, row.id)
            return
        if is_gone:
            self.faults.add(BACK, row.id)
        if not self.deep:
            return
        salt = b"" if row.salt is None else bytes(row.salt)
        envelope = chain.envelope_leaf(salt, row.body_format, row.content_type, row.headers)
        is_so = (
            body_digest(bytes(row.body)) == bytes(row.digest)
            and len(row.body) == row.size
            and (not is_covered or envelope == salt[chain.SALT_BYTES :])
        )
        if not is_so:
            self.faults.add(BODY_ALTERED, row.id)

    def _dispatch(self, row: Row[Any], history: History) -> None:
        if history.has(chain.DISPATCH_PRUNED):
            self.faults.add(BACK, row.id)
        if not history.has(chain.MADE):
            is_known = row.salt is None and (
                (row.created_us < self.began_us and self.at_beginning["received"])
                or self._is_older(row.created_us)
            )
            if not is_known:
                self.faults.add(DISPATCH_STRANGE, row.id)
            return
        salt = b"" if row.salt is None else bytes(row.salt)
        made = chain.leaf(salt, [getattr(row, name) for name in chain.MADE_FIELDS])
        settled = history.leaves(chain.SETTLED)
        if settled:
            leaf = chain.leaf(salt, [getattr(row, name) for name in chain.SETTLED_FIELDS])
            is_so = (chain.SETTLED, leaf) in settled
        else:
            is_so = (row.status in ACTIVE and row.flow_run_id is None) or self._is_older(row.created_us)
        if not is_so or (chain.MADE, made) not in history.leaves(chain.MADE):
            self.faults.add(DISPATCH_ALTERED, row.id)

    def _sums(self) -> None:
        """Hold the chain's sums against the rows that are kept and against the counters."""
        heads = self.ledger.heads
        chained = {
            name: self.at_beginning[name] + sum(getattr(head, name) for head in heads)
            for name in ("received", "duplicates", "pruned")
        }
        left = chained["received"] - chained["pruned"]
        kept = self.kept + self.before
        if left != kept:
            self.faults.add(f"the chain accounts for {left} events, and of those {kept} are kept")
        totals = counting.totals(self.connection)
        counted = {
            "received": totals.get("received", 0),
            "duplicates": totals.get("duplicates", 0),
            "pruned": counting.pruned_events(totals),
        }
        for name, total in counted.items():
            # An older version beside counts, and writes no links.
            may_exceed = self.older_us is not None
            if total != chained[name] and not (may_exceed and total > chained[name]):
                self.faults.add(f"counted {total} {name}, and the chain has {chained[name]}")


def _events(deep: bool) -> Select[Any]:
    of_body: list[Any] = [bodies.c.event_id.label("body_of")]
    if deep:
        of_body += [bodies.c.body, bodies.c.body_format, bodies.c.content_type, bodies.c.headers]
    return (
        select(events, *of_body)
        .join(bodies, bodies.c.event_id == events.c.id, isouter=True)
        .order_by(events.c.id)
    )


def _beginning(connection: Connection) -> tuple[int, dict[str, int]]:
    """Return when the chain began, and the counts of then."""
    row = connection.execute(select(chain_anchors).where(chain_anchors.c.number == 0)).first()
    if row is None:
        return 0, {"received": 0, "duplicates": 0, "pruned": 0}
    return row.at_us, orjson.loads(row.document)
