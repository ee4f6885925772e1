"""The calendar: which days a scheduled run is about."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run


@task(name="choose days", cache_policy=NO_CACHE)
def days_before(day: date | None, days: int, timezone: str) -> list[date]:
    """Return days, the last first.

    Parameters
    ----------
    day: the last day; by default the one before the run was due, however late it started.
    days: how many; at least 1.
    timezone: an IANA name; says which day it was when the run was due.

    Raises
    ------
    ValueError: less than one day is asked for.
    """
    if days < 1:
        raise ValueError(f"days={days}: at least 1 is needed")
    if day is None:
        due = flow_run.get_scheduled_start_time() or datetime.now(UTC)
        day = due.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)
    return [day - timedelta(days=back) for back in range(days)]
