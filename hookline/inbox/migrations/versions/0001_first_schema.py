"""The first schema: events, bodies, dispatches, replays, trigger sets, and their books."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and indexes."""
    op.create_table(
        "bodies",
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("body_format", sa.String(length=16), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "shard"),
    )
    op.create_table(
        "dispatches",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("trigger_id", sa.Text(), nullable=False),
        sa.Column("replay", sa.Integer(), nullable=False),
        sa.Column("trigger_set", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("place", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("merged_into", sa.String(length=36), nullable=True),
        sa.Column("replaced_by", sa.String(length=36), nullable=True),
        sa.Column("concurrency_key", sa.Text(), nullable=True),
        sa.Column("concurrency_limit", sa.Integer(), nullable=True),
        sa.Column("debounce_key", sa.Text(), nullable=True),
        sa.Column("debounce_first_us", sa.BigInteger(), nullable=True),
        sa.Column("due_us", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(length=36), nullable=True),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("run_created_us", sa.BigInteger(), nullable=True),
        sa.Column("run_started_us", sa.BigInteger(), nullable=True),
        sa.Column("first_task_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("flow_run_id", sa.String(length=36), nullable=True),
        sa.Column("flow_run_name", sa.Text(), nullable=True),
        sa.Column("deployment_id", sa.String(length=36), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("state_as_of_us", sa.BigInteger(), nullable=True),
        sa.Column("seen", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "trigger_id", "replay", name="ux_dispatches_identity"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_dispatches_concurrency",
        "dispatches",
        ["trigger_id", "concurrency_key", "place"],
        unique=False,
        sqlite_where=sa.text(
            "concurrency_key IS NOT NULL AND finished_us IS NULL AND status IN ('pending', 'held', 'started')"
        ),
        postgresql_where=sa.text(
            "concurrency_key IS NOT NULL AND finished_us IS NULL AND status IN ('pending', 'held', 'started')"
        ),
    )
    op.create_index(
        "ix_dispatches_dead",
        "dispatches",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status = 'dead' AND replaced_by IS NULL"),
        postgresql_where=sa.text("status = 'dead' AND replaced_by IS NULL"),
    )
    op.create_index(
        "ix_dispatches_debounce",
        "dispatches",
        ["trigger_id", "debounce_key"],
        unique=False,
        sqlite_where=sa.text("debounce_key IS NOT NULL AND status = 'held'"),
        postgresql_where=sa.text("debounce_key IS NOT NULL AND status = 'held'"),
    )
    op.create_index(
        "ix_dispatches_flow_run",
        "dispatches",
        ["flow_run_id"],
        unique=False,
        sqlite_where=sa.text("flow_run_id IS NOT NULL"),
        postgresql_where=sa.text("flow_run_id IS NOT NULL"),
    )
    op.create_index(
        "ix_dispatches_held",
        "dispatches",
        ["due_us"],
        unique=False,
        sqlite_where=sa.text("status = 'held'"),
        postgresql_where=sa.text("status = 'held'"),
    )
    op.create_index(
        "ix_dispatches_merged",
        "dispatches",
        ["merged_into"],
        unique=False,
        sqlite_where=sa.text("merged_into IS NOT NULL"),
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_index(
        "ix_dispatches_pending",
        "dispatches",
        ["lane", "place"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_dispatches_running",
        "dispatches",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status = 'started' AND finished_us IS NULL"),
        postgresql_where=sa.text("status = 'started' AND finished_us IS NULL"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("dedup_key", sa.Text(), nullable=True),
        sa.Column("type", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("accepted_us", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("routed_us", sa.BigInteger(), nullable=True),
        sa.Column("trigger_set", sa.Integer(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), server_default="0", nullable=False),
        sa.Column("conflicts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("by_reference", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("cause_event", sa.String(length=36), nullable=True),
        sa.Column("cause_flow_run", sa.String(length=36), nullable=True),
        sa.Column("cause_task_run", sa.String(length=36), nullable=True),
        sa.Column("depth", sa.Integer(), server_default="0", nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), server_default="", nullable=False),
        sa.Column("remote", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_events_cause",
        "events",
        ["cause_event"],
        unique=False,
        sqlite_where=sa.text("cause_event IS NOT NULL"),
        postgresql_where=sa.text("cause_event IS NOT NULL"),
    )
    op.create_index(
        "ix_events_cause_flow_run",
        "events",
        ["cause_flow_run"],
        unique=False,
        sqlite_where=sa.text("cause_flow_run IS NOT NULL"),
        postgresql_where=sa.text("cause_flow_run IS NOT NULL"),
    )
    op.create_index("ix_events_source", "events", ["source", "id"], unique=False)
    op.create_index("ix_events_status", "events", ["status", "id"], unique=False)
    op.create_index(
        "ix_events_subject",
        "events",
        ["subject", "id"],
        unique=False,
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_index("ix_events_type", "events", ["type", "id"], unique=False)
    op.create_index(
        "ux_events_dedup",
        "events",
        ["door", "dedup_key"],
        unique=True,
        sqlite_where=sa.text("dedup_key IS NOT NULL"),
        postgresql_where=sa.text("dedup_key IS NOT NULL"),
    )
    op.create_table(
        "keyring",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "mirror_outbox",
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("taken_until_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "rejections",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "replays",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("trigger_id", sa.Text(), nullable=True),
        sa.Column("per_second", sa.Float(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("cursor", sa.String(length=36), server_default="", nullable=False),
        sa.Column("events", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dispatches", sa.Integer(), server_default="0", nullable=False),
        sa.Column("without_match", sa.Integer(), server_default="0", nullable=False),
        sa.Column("without_body", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.String(length=36), nullable=True),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_replays_running",
        "replays",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "trigger_sets",
        sa.Column("version", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
