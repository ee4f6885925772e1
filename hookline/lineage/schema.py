"""The tables of lineage: what the recorder keeps of runs, assets and artifacts, in the inbox's database.

Times are integers, microseconds since the Unix epoch (`*_us`), as in the inbox. Ids are Prefect's own.
Events and dispatches are the inbox's; lineage joins them and copies nothing of them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text, text

from hookline.inbox.schema import metadata

flow_runs = Table(
    "lineage_flow_runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("flow_name", Text),
    Column("deployment_id", String(36)),
    Column("deployment_name", Text),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("parent_task_run_id", String(36)),
    Column("parent_flow_run_id", String(36)),
    # Made by Prefect's own scheduler; NULL until Prefect was asked.
    Column("auto_scheduled", Boolean),
    # What `created_by` says; a client can write there what it likes.
    Column("creator_kind", String(32)),
    Column("creator_name", Text),
    Column("state", String(16)),
    Column("state_name", Text),
    Column("message", Text),
    Column("state_us", BigInteger),
    Column("created_us", BigInteger),
    Column("expected_us", BigInteger),
    Column("started_us", BigInteger),
    Column("finished_us", BigInteger),
    Column("run_count", Integer),
    # Prefect was asked about this run after its end: nothing more is expected.
    Column("settled", Boolean, nullable=False, server_default=text("false")),
    # Which OpenLineage events were put into the outbox: 1 START, 2 the terminal one, 3 both.
    Column("exported", Integer, nullable=False, server_default="0"),
    Column("touched_us", BigInteger, nullable=False),
    Index(
        "ix_lineage_flow_runs_parent",
        "parent_flow_run_id",
        sqlite_where=text("parent_flow_run_id IS NOT NULL"),
        postgresql_where=text("parent_flow_run_id IS NOT NULL"),
    ),
    Index(
        "ix_lineage_flow_runs_unsettled",
        "touched_us",
        sqlite_where=text("settled = 0"),
        postgresql_where=text("NOT settled"),
    ),
    Index("ix_lineage_flow_runs_touched", "touched_us"),
    sqlite_with_rowid=False,
)

task_runs = Table(
    "lineage_task_runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("flow_run_id", String(36), nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("state", String(16)),
    Column("state_name", Text),
    Column("message", Text),
    Column("state_us", BigInteger),
    Column("started_us", BigInteger),
    Column("finished_us", BigInteger),
    Column("run_count", Integer),
    Index("ix_lineage_task_runs_flow_run", "flow_run_id"),
    sqlite_with_rowid=False,
)

#: What a task run was given: the results of other task runs or flow runs, or the task run around it.
inputs = Table(
    "lineage_inputs",
    metadata,
    Column("task_run_id", String(36), primary_key=True),
    Column("source_id", String(36), primary_key=True),
    # `task_run` or `flow_run` whose result it got; `parent`, the task run that called it.
    Column("kind", String(16), nullable=False),
    Column("flow_run_id", String(36), nullable=False),
    Index("ix_lineage_inputs_flow_run", "flow_run_id"),
    sqlite_with_rowid=False,
)

assets = Table(
    "lineage_assets",
    metadata,
    Column("key", Text, primary_key=True),
    Column("name", Text),
    Column("description", Text),
    Column("url", Text),
    Column("owners", Text, nullable=False, server_default="[]"),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Index("ix_lineage_assets_last", "last_us"),
    sqlite_with_rowid=False,
)

#: One writing of an asset by a run; `id` is that of Prefect's event.
writes = Table(
    "lineage_writes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("asset_key", Text, nullable=False),
    Column("flow_run_id", String(36), nullable=False),
    Column("task_run_id", String(36)),
    Column("at_us", BigInteger, nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("made_by", Text),
    Column("details", Text, nullable=False, server_default="{}"),
    Index("ix_lineage_writes_asset", "asset_key", "at_us"),
    Index("ix_lineage_writes_flow_run", "flow_run_id"),
    sqlite_with_rowid=False,
)

#: The assets that went into a write.
reads = Table(
    "lineage_reads",
    metadata,
    Column("write_id", String(36), primary_key=True),
    Column("asset_key", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("flow_run_id", String(36), nullable=False),
    Index("ix_lineage_reads_asset", "asset_key", "at_us"),
    Index("ix_lineage_reads_flow_run", "flow_run_id"),
    sqlite_with_rowid=False,
)

artifacts = Table(
    "lineage_artifacts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("key", Text),
    Column("type", Text),
    Column("flow_run_id", String(36), nullable=False),
    Column("task_run_id", String(36)),
    Column("created_us", BigInteger, nullable=False),
    Index("ix_lineage_artifacts_flow_run", "flow_run_id"),
    sqlite_with_rowid=False,
)

#: The recorder's own memory: how far it has read, and which gateway records.
notes = Table(
    "lineage_notes",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

#: OpenLineage events that are still to be sent; they are written when their turn comes.
exports = Table(
    "lineage_exports",
    metadata,
    Column("flow_run_id", String(36), primary_key=True),
    Column("step", String(8), primary_key=True),
    Column("created_us", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Index("ix_lineage_exports_created", "created_us"),
    sqlite_with_rowid=False,
)
