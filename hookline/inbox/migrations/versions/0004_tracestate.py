"""The `tracestate` that an event came with; null in the rows of earlier versions, which may go on writing."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("events", sa.Column("tracestate", sa.Text(), nullable=True))
