"""Searching events: along an index, so that a page costs the same however many events there are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, and_, func, literal, select, union_all

from hookline.inbox.reading import event_from_row
from hookline.inbox.records import Search, StoredEvent, first_id_at
from hookline.inbox.schema import events

#: A prefix that stands for more types than this is so common that a walk along the ids finds a page soon.
TYPES_OF_PREFIX = 32
#: A status that fewer events have than this is rare: whatever else is asked for, those few are read.
RARE = 2_000
#: Ids that are read, the newest first, for one with a given end.
IDS_READ = 1_000_000


def search_events(connection: Connection, search: Search) -> list[StoredEvent]:
    """Return one page of a search."""
    return [event_from_row(row) for row in connection.execute(search_statement(connection, search))]


def search_statement(connection: Connection, search: Search) -> Select[Any]:
    """Return a search as one statement.

    Parameters
    ----------
    connection: for looking up which types a prefix stands for.
    """
    if search.id_end is not None:
        statement = select(events).where(events.c.id.in_(_ids_with_end(search.id_end)))
        return _page(search, statement if search.type is None else statement.where(_of(search.type)))
    if search.type in (None, "*"):
        return _page(search, select(events))
    if search.status is not None and _is_rare(connection, search):
        # SQLite takes all of its indexes for equally good. A column inside an expression is in none of them.
        hidden = func.coalesce(events.c.type, "")
        return _page(search, select(events).where(_of(search.type, hidden)))
    if not search.type.endswith("*"):
        return _of_type(search, search.type)
    prefix = search.type[:-1]
    types = types_with_prefix(connection, prefix, limit=TYPES_OF_PREFIX + 1)
    if len(types) > TYPES_OF_PREFIX:
        return _page(search, select(events).where(_in_prefix(prefix)))
    if len(types) < 2:
        return _of_type(search, types[0] if types else prefix)
    # The ids of one page of each type, each along its index, and of those the first.
    pages = [_page(search, select(events.c.id).where(events.c.type == name)).subquery() for name in types]
    ids = union_all(*(select(page.c.id) for page in pages)).subquery()
    return _in_order(search, select(events).where(events.c.id.in_(select(ids.c.id))))


def types_with_prefix(connection: Connection, prefix: str, *, limit: int) -> list[str]:
    """Return the types that begin with a prefix, jumping along the index from one to the next."""
    first = select(func.min(events.c.type).label("type")).where(_in_prefix(prefix))
    walk = first.cte("walk", recursive=True)
    following = (
        select(func.min(events.c.type))
        .where(events.c.type > walk.c.type, events.c.type < _end(prefix))
        .correlate(walk)
        .scalar_subquery()
    )
    walk = walk.union_all(select(following).where(walk.c.type.is_not(None)))
    return list(connection.scalars(select(walk.c.type).where(walk.c.type.is_not(None)).limit(limit)))


def _ids_with_end(end: str) -> Select[Any]:
    """Return the ids with an end. An index for them would cost every event; reading ids alone is quick."""
    newest = select(events.c.id).order_by(events.c.id.desc()).limit(IDS_READ).subquery()
    has_end = func.substr(newest.c.id, 37 - len(end)) == end
    return select(newest.c.id).where(has_end)


def _is_rare(connection: Connection, search: Search) -> bool:
    """Return whether few events have the status that is searched for."""
    some = select(events.c.id).where(events.c.status == str(search.status)).limit(RARE).subquery()
    return int(connection.scalar(select(func.count()).select_from(some)) or 0) < RARE


def _of_type(search: Search, name: str) -> Select[Any]:
    return _page(search, select(events).where(events.c.type == name))


def _page(search: Search, statement: Select[Any]) -> Select[Any]:
    for column, value in (
        (events.c.source, search.source),
        (events.c.subject, search.subject),
        (events.c.status, search.status),
    ):
        if value is not None:
            statement = statement.where(column == str(value))
    # An id holds its event's accepted time, so that both bounds are bounds of the index.
    if search.since is not None:
        statement = statement.where(events.c.id >= first_id_at(search.since))
    if search.until is not None:
        statement = statement.where(events.c.id < first_id_at(search.until))
    if search.cursor is not None:
        statement = statement.where(
            events.c.id > search.cursor if search.oldest_first else events.c.id < search.cursor
        )
    return _in_order(search, statement)


def _in_order(search: Search, statement: Select[Any]) -> Select[Any]:
    order = events.c.id if search.oldest_first else events.c.id.desc()
    return statement.order_by(order).limit(search.limit)


def _of(type: str, column: Any = events.c.type) -> Any:
    return _in_prefix(type[:-1], column) if type.endswith("*") else column == type


def _in_prefix(prefix: str, column: Any = events.c.type) -> Any:
    return and_(column >= literal(prefix), column < _end(prefix))


def _end(prefix: str) -> Any:
    # A half-open range is an index range everywhere; LIKE is one only under some collations.
    return literal(prefix + "\U0010ffff")
