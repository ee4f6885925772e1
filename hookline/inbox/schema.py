"""The inbox's tables: the one readable truth of the schema; a test proves that migrations arrive at it.

Times are integers, microseconds since the Unix epoch (`*_us`): exact, sortable and the same in SQLite
and PostgreSQL. Ids are UUIDv7 in text form, so that order by id is order of arrival.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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

events = Table(
    "events",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("door", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_id", Text),
    # What deduplication goes by: the source_id, or `body:<digest>` within a window. See recording.py.
    Column("dedup_key", Text),
    Column("type", Text, nullable=False),
    Column("subject", Text),
    Column("time_us", BigInteger, nullable=False),
    Column("accepted_us", BigInteger, nullable=False),
    # Derived from the event's dispatches, and kept here so that search by status is an index range.
    Column("status", String(16), nullable=False),
    Column("routed_us", BigInteger),
    Column("trigger_set", Integer),
    Column("digest", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False, server_default="0"),
    Column("conflicts", Integer, nullable=False, server_default="0"),
    Column("by_reference", Boolean, nullable=False, server_default=text("false")),
    Column("cause_event", String(36)),
    Column("cause_flow_run", String(36)),
    Column("cause_task_run", String(36)),
    Column("depth", Integer, nullable=False, server_default="0"),
    Column("traceparent", Text),
    Column("verdict", Text, nullable=False, server_default=""),
    Column("remote", Text, nullable=False, server_default=""),
    Index("ix_events_type", "type", "id"),
    Index("ix_events_source", "source", "id"),
    Index("ix_events_status", "status", "id"),
    Index(
        "ix_events_subject",
        "subject",
        "id",
        sqlite_where=text("subject IS NOT NULL"),
        postgresql_where=text("subject IS NOT NULL"),
    ),
    Index(
        "ix_events_cause",
        "cause_event",
        sqlite_where=text("cause_event IS NOT NULL"),
        postgresql_where=text("cause_event IS NOT NULL"),
    ),
    Index(
        "ix_events_cause_flow_run",
        "cause_flow_run",
        sqlite_where=text("cause_flow_run IS NOT NULL"),
        postgresql_where=text("cause_flow_run IS NOT NULL"),
    ),
    Index(
        "ux_events_dedup",
        "door",
        "dedup_key",
        unique=True,
        sqlite_where=text("dedup_key IS NOT NULL"),
        postgresql_where=text("dedup_key IS NOT NULL"),
    ),
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
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("response", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("merged_into", String(36)),
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
    UniqueConstraint("event_id", "trigger_id", "replay", name="ux_dispatches_identity"),
    Index(
        "ix_dispatches_waiting",
        "status",
        "lane",
        "event_id",
        sqlite_where=text("status IN ('pending', 'held')"),
        postgresql_where=text("status IN ('pending', 'held')"),
    ),
    Index(
        "ix_dispatches_running",
        "status",
        "id",
        sqlite_where=text("status = 'started' AND finished_us IS NULL"),
        postgresql_where=text("status = 'started' AND finished_us IS NULL"),
    ),
    Index(
        "ix_dispatches_concurrency",
        "trigger_id",
        "concurrency_key",
        sqlite_where=text(
            "concurrency_key IS NOT NULL AND finished_us IS NULL AND status IN ('pending', 'held', 'started')"
        ),
        postgresql_where=text(
            "concurrency_key IS NOT NULL AND finished_us IS NULL AND status IN ('pending', 'held', 'started')"
        ),
    ),
    Index(
        "ix_dispatches_debounce",
        "trigger_id",
        "debounce_key",
        sqlite_where=text("debounce_key IS NOT NULL AND status = 'held'"),
        postgresql_where=text("debounce_key IS NOT NULL AND status = 'held'"),
    ),
    Index(
        "ix_dispatches_flow_run",
        "flow_run_id",
        sqlite_where=text("flow_run_id IS NOT NULL"),
        postgresql_where=text("flow_run_id IS NOT NULL"),
    ),
    Index(
        "ix_dispatches_dead",
        "id",
        sqlite_where=text("status = 'dead'"),
        postgresql_where=text("status = 'dead'"),
    ),
    Index(
        "ix_dispatches_merged",
        "merged_into",
        sqlite_where=text("merged_into IS NOT NULL"),
        postgresql_where=text("merged_into IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
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
    Column("created_us", BigInteger, nullable=False),
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
counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

#: Keys that all gateways of this inbox share, such as the one that signs claim checks.
keyring = Table(
    "keyring",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)
