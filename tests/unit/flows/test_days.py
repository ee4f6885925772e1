"""Which days a scheduled run is about."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from tasks.commits import bounds
from tasks.days import days_before


@pytest.mark.parametrize(
    ("due", "timezone", "day"),
    [
        ("2026-11-24T02:15:00Z", "Europe/Berlin", date(2026, 11, 23)),
        ("2026-11-23T23:30:00Z", "Europe/Berlin", date(2026, 11, 23)),  # 00:30 there: the 24th has begun
        ("2026-11-24T02:15:00Z", "America/New_York", date(2026, 11, 22)),
    ],
)
def test_the_day_before_the_run_was_due_there(
    monkeypatch: pytest.MonkeyPatch, due: str, timezone: str, day: date
) -> None:
    """However late the run starts."""
    monkeypatch.setattr("tasks.days.flow_run.get_scheduled_start_time", lambda: datetime.fromisoformat(due))
    assert days_before.fn(None, 1, timezone) == [day]


def test_a_day_that_is_given_is_the_last() -> None:
    assert days_before.fn(date(2026, 3, 1), 3, "UTC") == [
        date(2026, 3, 1),
        date(2026, 2, 28),
        date(2026, 2, 27),
    ]
    with pytest.raises(ValueError, match="at least 1"):
        days_before.fn(None, 0, "UTC")


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-24", 24)])
def test_a_day_is_as_long_as_its_timezone_makes_it(day: str, hours: int) -> None:
    begins, ends = bounds(date.fromisoformat(day), "Europe/Berlin")
    assert (ends - begins).total_seconds() == hours * 3600
