"""Lineage: what became of runs, which assets they wrote, and what made what."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and indexes."""
    op.create_table(
        "lineage_artifacts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("flow_run_id", sa.String(length=36), nullable=False),
        sa.Column("task_run_id", sa.String(length=36), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_artifacts_flow_run", "lineage_artifacts", ["flow_run_id"], unique=False)
    op.create_table(
        "lineage_assets",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("owners", sa.Text(), server_default="[]", nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_assets_last", "lineage_assets", ["last_us"], unique=False)
    op.create_table(
        "lineage_exports",
        sa.Column("flow_run_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.String(length=8), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("flow_run_id", "step"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_exports_created", "lineage_exports", ["created_us"], unique=False)
    op.create_table(
        "lineage_flow_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("flow_name", sa.Text(), nullable=True),
        sa.Column("deployment_id", sa.String(length=36), nullable=True),
        sa.Column("deployment_name", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), server_default="[]", nullable=False),
        sa.Column("parent_task_run_id", sa.String(length=36), nullable=True),
        sa.Column("parent_flow_run_id", sa.String(length=36), nullable=True),
        sa.Column("auto_scheduled", sa.Boolean(), nullable=True),
        sa.Column("creator_kind", sa.String(length=32), nullable=True),
        sa.Column("creator_name", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("state_name", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("state_us", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=True),
        sa.Column("expected_us", sa.BigInteger(), nullable=True),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("run_count", sa.Integer(), nullable=True),
        sa.Column("settled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("exported", sa.Integer(), server_default="0", nullable=False),
        sa.Column("touched_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_lineage_flow_runs_parent",
        "lineage_flow_runs",
        ["parent_flow_run_id"],
        unique=False,
        sqlite_where=sa.text("parent_flow_run_id IS NOT NULL"),
        postgresql_where=sa.text("parent_flow_run_id IS NOT NULL"),
    )
    op.create_index("ix_lineage_flow_runs_touched", "lineage_flow_runs", ["touched_us"], unique=False)
    op.create_index(
        "ix_lineage_flow_runs_unsettled",
        "lineage_flow_runs",
        ["touched_us"],
        unique=False,
        sqlite_where=sa.text("settled = 0"),
        postgresql_where=sa.text("NOT settled"),
    )
    op.create_table(
        "lineage_inputs",
        sa.Column("task_run_id", sa.String(length=36), nullable=False),
        sa.Column("source_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("flow_run_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("task_run_id", "source_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_inputs_flow_run", "lineage_inputs", ["flow_run_id"], unique=False)
    op.create_table(
        "lineage_notes",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "lineage_reads",
        sa.Column("write_id", sa.String(length=36), nullable=False),
        sa.Column("asset_key", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("flow_run_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("write_id", "asset_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_reads_asset", "lineage_reads", ["asset_key", "at_us"], unique=False)
    op.create_index("ix_lineage_reads_flow_run", "lineage_reads", ["flow_run_id"], unique=False)
    op.create_table(
        "lineage_task_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("flow_run_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("state_name", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("state_us", sa.BigInteger(), nullable=True),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("run_count", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_task_runs_flow_run", "lineage_task_runs", ["flow_run_id"], unique=False)
    op.create_table(
        "lineage_writes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("asset_key", sa.Text(), nullable=False),
        sa.Column("flow_run_id", sa.String(length=36), nullable=False),
        sa.Column("task_run_id", sa.String(length=36), nullable=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=True),
        sa.Column("details", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lineage_writes_asset", "lineage_writes", ["asset_key", "at_us"], unique=False)
    op.create_index("ix_lineage_writes_flow_run", "lineage_writes", ["flow_run_id"], unique=False)
