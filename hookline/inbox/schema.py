"""The inbox's tables: the one readable truth of the schema; a test proves that migrations arrive at it.

Times are integers, microseconds since the Unix epoch (`*_us`): exact, sortable and the same in SQLite
and PostgreSQL. An event's id is a UUIDv7 that holds its accepted time to the microsecond, so that order by
id is order of arrival, and a range of times is a range of ids.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# The conditions of partial indexes. Queries use the same text: a database takes a partial index only where
# it can tell that the query asks for no row outside of it, and a bound parameter hides that.
PENDING = "status = 'pending'"
HELD = "status = 'held'"
RUNNING = "status = 'started' AND finished_us IS NULL"
DEAD_LETTER = "status = 'dead' AND replaced_by IS NULL"
KEYED = "concurrency_key IS NOT NULL AND finished_us IS NULL AND status IN ('pending', 'held', 'started')"
BODY_DEDUP = "body_dedup"
DEBOUNCING = "debounce_key IS NOT NULL AND status = 'held'"


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index over some rows only, in both databases."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


events = Table(
    "events",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("door", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_id", Text),
    # What deduplication goes by: the source_id, and the body's digest within a window. See recording.py.
    Column("dedup_key", Text),
    # Byte by byte in order, whatever the database's language, so that a prefix is a range.
    Column("type", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
    Column("subject", Text),
    Column("time_us", BigInteger, nullable=False),
    Column("accepted_us", BigInteger, nullable=False),
    # Derived from the event's dispatches, and kept here so that search by status is an index range.
    Column("status", String(16), nullable=False),
    Column("routed_us", BigInteger),
    Column("trigger_set", Integer),
    Column("digest", LargeBinary, nullable=False),
    # An equal body at this door is a duplicate, for as long as the source's window lasts.
    Column("body_dedup", Boolean, nullable=False, server_default=text("false")),
    Column("size", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False, server_default="0"),
    Column("conflicts", Integer, nullable=False, server_default="0"),
    Column("by_reference", Boolean, nullable=False, server_default=text("false")),
    Column("cause_event", String(36)),
    Column("cause_flow_run", String(36)),
    Column("cause_task_run", String(36)),
    Column("depth", Integer, nullable=False, server_default="0"),
    Column("traceparent", Text),
    Column("tracestate", Text),
    Column("verdict", Text, nullable=False, server_default=""),
    Column("remote", Text, nullable=False, server_default=""),
    # Of its hashes in the chain; none where an older version wrote the row. See chain.py.
    Column("salt", LargeBinary),
    # When a person's data was taken out of it.
    Column("erased_us", BigInteger),
    Index("ix_events_type", "type", "id"),
    Index("ix_events_source", "source", "id"),
    Index("ix_events_status", "status", "id"),
    _partial("ix_events_subject", "subject", "id", where="subject IS NOT NULL"),
    _partial("ix_events_cause", "cause_event", where="cause_event IS NOT NULL"),
    _partial("ix_events_cause_flow_run", "cause_flow_run", where="cause_flow_run IS NOT NULL"),
    _partial("ux_events_dedup", "door", "dedup_key", where="dedup_key IS NOT NULL", unique=True),
    _partial("ux_events_body", "door", "digest", where=BODY_DEDUP, unique=True),
    sqlite_with_rowid=False,
)

#: Apart from `events`, so that reading many events does not read their bodies.
bodies = Table(
    "bodies",
    metadata,
    Column("event_id", String(36), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("body_format", String(16), nullable=False),
    Column("content_type", Text, nullable=False),
    Column("headers", Text, nullable=False),
)

dispatches = Table(
    "dispatches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("event_id", String(36), nullable=False),
    Column("trigger_id", Text, nullable=False),
    Column("replay", Integer, nullable=False),
    # The version of the trigger set that the event was matched against.
    Column("trigger_set", Integer, nullable=False),
    # `flow/deployment`: the lane in which the dispatch waits for its pool.
    Column("lane", Text, nullable=False),
    # Its place in every line: the event's id, or its own for a replay, which joins at the end.
    Column("place", String(36), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("response", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("merged_into", String(36)),
    # A dead letter that was replayed: the dispatch that stands for it now.
    Column("replaced_by", String(36)),
    # Flow control: the concurrency key with its limit, the debounce key with the first event's time.
    Column("concurrency_key", Text),
    Column("concurrency_limit", Integer),
    Column("debounce_key", Text),
    Column("debounce_first_us", BigInteger),
    # A held dispatch is looked at again, and a pending one is tried again, from then on.
    Column("due_us", BigInteger),
    Column("lease_owner", String(36)),
    Column("lease_until_us", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Column("run_created_us", BigInteger),
    Column("run_started_us", BigInteger),
    Column("first_task_us", BigInteger),
    Column("finished_us", BigInteger),
    Column("flow_run_id", String(36)),
    Column("flow_run_name", Text),
    Column("deployment_id", String(36)),
    Column("state", String(16)),
    Column("state_as_of_us", BigInteger),
    # Prefect was seen to have the run, after it had acknowledged its creation.
    Column("seen", Boolean, nullable=False, server_default=text("false")),
    Column("salt", LargeBinary),
    UniqueConstraint("event_id", "trigger_id", "replay", name="ux_dispatches_identity"),
    _partial("ix_dispatches_pending", "lane", "place", where=PENDING),
    _partial("ix_dispatches_held", "due_us", where=HELD),
    _partial("ix_dispatches_running", "id", where=RUNNING),
    _partial(
        "ix_dispatches_concurrency",
        "trigger_id",
        "concurrency_key",
        "place",
        where=KEYED,
    ),
    _partial(
        "ix_dispatches_debounce",
        "trigger_id",
        "debounce_key",
        where=DEBOUNCING,
    ),
    _partial("ix_dispatches_flow_run", "flow_run_id", where="flow_run_id IS NOT NULL"),
    _partial("ix_dispatches_dead", "id", where=DEAD_LETTER),
    _partial("ix_dispatches_merged", "merged_into", where="merged_into IS NOT NULL"),
    sqlite_with_rowid=False,
)

#: Replays of many events: what is to be replayed, and how far it has come.
replays = Table(
    "replays",
    metadata,
    Column("id", String(36), primary_key=True),
    # `events` or `dead`, and the search as JSON; its end is fixed when it is asked for.
    Column("kind", String(16), nullable=False),
    Column("search", Text, nullable=False),
    Column("trigger_id", Text),
    Column("per_second", Float),
    Column("status", String(16), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("finished_us", BigInteger),
    # Moved on in the transaction that makes the dispatches: no event is replayed twice or left out.
    Column("cursor", String(36), nullable=False, server_default=""),
    Column("events", Integer, nullable=False, server_default="0"),
    Column("dispatches", Integer, nullable=False, server_default="0"),
    Column("without_match", Integer, nullable=False, server_default="0"),
    Column("without_body", Integer, nullable=False, server_default="0"),
    # One gateway at a time is at it, so that its rate is the one that was asked for.
    Column("lease_owner", String(36)),
    Column("lease_until_us", BigInteger),
    _partial("ix_replays_running", "id", where="status = 'running'"),
)

#: Versions of the trigger set; the newest is in force, the older ones explain older dispatches.
trigger_sets = Table(
    "trigger_sets",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=True),
    Column("created_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

#: Events that are still to be mirrored into Prefect's feed.
mirror_outbox = Table(
    "mirror_outbox",
    metadata,
    Column("event_id", String(36), primary_key=True),
    # A gateway is at it until then; no other takes it.
    Column("taken_until_us", BigInteger, nullable=False, server_default="0"),
)

rejections = Table(
    "rejections",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("door", Text, nullable=False),
    Column("remote", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("size", Integer, nullable=False),
)

#: Exact totals, counted in the transaction that makes them true; `hookline audit` holds them together.
#: A total is the sum over its shards: gateways that count at the same time do not wait for each other.
counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

#: Keys that all gateways of this inbox share, such as the one that signs claim checks.
keyring = Table(
    "keyring",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)

#: The tamper-evident chain: what each commit wrote, as hashes; see chain.py.
chain_links = Table(
    "chain_links",
    metadata,
    Column("chain", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    # Sums from the beginning of its chain on.
    Column("received", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("pruned", BigInteger, nullable=False),
    # Of the entries, which are dropped when none of their rows is kept any more.
    Column("digest", LargeBinary, nullable=False),
    Column("entries", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: What anchors were given out for: the heads of all chains at a moment. Number 0 is the chain's beginning.
chain_anchors = Table(
    "chain_anchors",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
