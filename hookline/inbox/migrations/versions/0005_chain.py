"""The chain: what each commit wrote as hashes, and what the counts were when it began."""

import json
import os
import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, give rows their salts, and write down where the chain begins."""
    op.create_table(
        "chain_links",
        sa.Column("chain", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "seq"),
        sqlite_with_rowid=False,
    )
    anchors = op.create_table(
        "chain_anchors",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.add_column("events", sa.Column("salt", sa.LargeBinary(), nullable=True))
    op.add_column("events", sa.Column("erased_us", sa.BigInteger(), nullable=True))
    op.add_column("dispatches", sa.Column("salt", sa.LargeBinary(), nullable=True))
    keyring = sa.table("keyring", sa.column("name", sa.Text), sa.column("secret", sa.LargeBinary))
    # What tells this inbox apart; a backup of any time has it.
    op.bulk_insert(keyring, [{"name": "inbox", "secret": os.urandom(32)}])
    # Rows without a salt are older than the chain, or an older version wrote them beside it.
    rows = op.get_bind().execute(sa.text("SELECT name, sum(value) FROM counters GROUP BY name"))
    totals = {name: int(value) for name, value in rows.tuples()}
    pruned = sum(
        value for name, value in totals.items() if name.startswith("pruned.") and name != "pruned.duplicates"
    )
    before = {
        "received": totals.get("received", 0),
        "duplicates": totals.get("duplicates", 0),
        "pruned": pruned,
    }
    op.bulk_insert(anchors, [{"number": 0, "at_us": time.time_ns() // 1000, "document": json.dumps(before)}])
