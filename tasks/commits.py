"""The commits in the warehouse: recording pushes, and summing up what was done."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
from prefect import task
from prefect.assets import Asset, add_asset_metadata, materialize
from prefect.tasks import MaterializingTask

from tasks.github import Push
from tasks.warehouse import RETRIES, objects, table_asset, transaction

COMMITS = table_asset("commits")
SUMMARY = table_asset("daily_summary")

# `authored` and `pushed` are UTC; `authored_on` is the day where the author was.
_TABLES = """
CREATE TABLE IF NOT EXISTS pushes (
    delivery VARCHAR PRIMARY KEY, repository VARCHAR, ref VARCHAR, pushed TIMESTAMP, commit_count BIGINT
);
CREATE TABLE IF NOT EXISTS commits (
    repository VARCHAR, sha VARCHAR, author VARCHAR, authored TIMESTAMP, authored_on DATE,
    message VARCHAR, file_count BIGINT, ref VARCHAR, delivery VARCHAR, PRIMARY KEY (repository, sha)
);
CREATE TABLE IF NOT EXISTS daily_summary (
    day DATE, timezone VARCHAR, repository VARCHAR, author VARCHAR,
    commit_count BIGINT, file_count BIGINT, first_commit TIMESTAMP, last_commit TIMESTAMP
);
"""


@materialize(COMMITS, name="record commits", **RETRIES)
def record_commits(push: Push) -> int:
    """Record a push and its commits, and return how many commits were not known before.

    A delivery is recorded once however often it comes, and so is a commit that several pushes bring.

    Parameters
    ----------
    push: the push.

    Raises
    ------
    WarehouseBusy: the warehouse did not become free in time. Prefect tries again.
    """
    with transaction() as db:
        db.execute(_TABLES)
        before = _count(db, "commits")
        db.execute(
            "INSERT INTO pushes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [push.delivery, push.repository, push.ref, _utc(push.pushed), len(push.commits)],
        )
        for commit in push.commits:
            db.execute(
                "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    push.repository, commit.sha, commit.author, _utc(commit.authored),
                    commit.authored.date(), commit.message, commit.files, push.ref, push.delivery,
                ],
            )  # fmt: skip
        after = _count(db, "commits")
    add_asset_metadata(COMMITS, {"new": after - before, "rows": after})
    return after - before


def recording(repository: str) -> MaterializingTask[[Push], int]:
    """Return the `record_commits` task for one repository, whose asset the commits depend on.

    Parameters
    ----------
    repository: as `acme/shop`.
    """
    return record_commits.with_options(asset_deps=[Asset(key=f"https://github.com/{repository}")])


@task(name="activity", **RETRIES)
def activity(repository: str) -> list[dict[str, Any]]:
    """Return the commits of a repository for each author and day, latest day first.

    Parameters
    ----------
    repository: as `acme/shop`.
    """
    with transaction() as db:
        return objects(
            db.execute(
                "SELECT authored_on AS day, author, count(*) AS commits, sum(file_count)::BIGINT AS files"
                " FROM commits WHERE repository = ? GROUP BY ALL ORDER BY day DESC, commits DESC, author",
                [repository],
            )
        )


@materialize(SUMMARY, asset_deps=[COMMITS], name="sum up day", **RETRIES)
def sum_up_day(day: date, timezone: str) -> list[dict[str, Any]]:
    """Compute the summary of one day anew, in place of the one it had, and return its rows.

    Parameters
    ----------
    day: the day.
    timezone: an IANA name, such as `Europe/Berlin`; says when the day begins and ends.

    Raises
    ------
    WarehouseBusy: the warehouse did not become free in time. Prefect tries again.
    """
    begins, ends = bounds(day, timezone)
    with transaction() as db:
        db.execute(_TABLES)
        db.execute("DELETE FROM daily_summary WHERE day = ? AND timezone = ?", [day, timezone])
        db.execute(
            "INSERT INTO daily_summary SELECT ?, ?, repository, author, count(*), sum(file_count),"
            " min(authored), max(authored) FROM commits WHERE authored >= ? AND authored < ?"
            " GROUP BY repository, author",
            [day, timezone, begins, ends],
        )
        rows = objects(
            db.execute(
                "SELECT repository, author, commit_count AS commits, file_count AS files FROM daily_summary"
                " WHERE day = ? AND timezone = ? ORDER BY commits DESC, repository, author",
                [day, timezone],
            )
        )
    add_asset_metadata(SUMMARY, {"day": day.isoformat(), "rows": len(rows)})
    return rows


def bounds(day: date, timezone: str) -> tuple[datetime, datetime]:
    """Return when a day begins and ends somewhere, in UTC without an offset, as the warehouse keeps times."""
    zone = ZoneInfo(timezone)
    begins, ends = (datetime.combine(on, time(), zone) for on in (day, day + timedelta(days=1)))
    return _utc(begins), _utc(ends)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0] if row else 0
