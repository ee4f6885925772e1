"""Equal bodies are duplicates beside equal ids: one unique index for each."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and its index; what was a body's key before goes over to them."""
    op.add_column(
        "events", sa.Column("body_dedup", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.execute("UPDATE events SET body_dedup = true, dedup_key = NULL WHERE dedup_key LIKE 'body:%'")
    op.create_index(
        "ux_events_body",
        "events",
        ["door", "digest"],
        unique=True,
        sqlite_where=sa.text("body_dedup"),
        postgresql_where=sa.text("body_dedup"),
    )


def downgrade() -> None:
    """Remove them; bodies within their window are events again."""
    op.drop_index("ux_events_body", table_name="events")
    op.drop_column("events", "body_dedup")
