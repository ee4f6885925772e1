"""What recording asks the database: a duplicate costs a look into an index, however many events there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.inbox import recording
from hookline.inbox.engine import inbox_url, migrate, open_engine


@pytest.mark.parametrize("name", ["_BY_ID", "_BY_BODY", "_END_WINDOW"])
def test_no_statement_about_a_duplicate_reads_all_events(tmp_path: Path, name: str) -> None:
    """SQLite searches an index of both columns; a scan of a million events would hold up the door."""
    statement: str = getattr(recording, name)
    engine = open_engine(inbox_url(f"sqlite:///{tmp_path / 'inbox.db'}"), writing=True)
    migrate(engine)
    with engine.connect() as connection:
        values = ("webhooks/github", b"key", 0)[: statement.count("?")]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        connection.rollback()
    engine.dispose()
    assert [row[-1].partition(" USING")[0] for row in plan] == ["SEARCH events"]
    assert "door=? AND" in plan[0][-1]
