"""What happens in the repositories: record each push, and sum up each day."""

from __future__ import annotations

from datetime import date
from typing import Any

from prefect import flow, unmapped

from hookline import Event
from tasks.artifacts import publish_link, publish_table
from tasks.commits import activity, recording, sum_up_day
from tasks.days import days_before
from tasks.github import read_push


@flow(name="record-push")
def record_push(event: Event | None = None) -> int:
    """Record the commits of a GitHub push, and return how many were not known before.

    Parameters
    ----------
    event: a `github.push` event.
    """
    push = read_push(event)
    link = publish_link.submit(f"changes {push.repository}", push.compare, f"{push.repository}: {push.ref}")
    recorded = recording(push.repository).submit(push)
    done = activity.submit(push.repository, wait_for=[recorded], return_state=False)
    # Any: Prefect's types do not know that a list of futures may stand for the values.
    rows: Any = [done]
    table = publish_table.submit(
        f"activity {push.repository}", rows, f"Commits of {push.repository} for each author and day"
    )
    new = recorded.result()  # first, because its error tells why the others could not be
    table.result()
    link.result()
    return new


@flow(name="summarise-day")
def summarise_day(day: date | None = None, days: int = 7, timezone: str = "Europe/Berlin") -> list[date]:
    """Sum up who did how much, for some days up to one; return those days.

    Days before are computed anew as well, because commits are often pushed days after they were made.

    Parameters
    ----------
    day: the last day; by default the one before the run was due.
    days: how many days.
    timezone: an IANA name; says when a day begins and ends.
    """
    chosen = days_before(day, days, timezone)
    # Any: as above.
    summaries: Any = sum_up_day.map(chosen, unmapped(timezone))
    publish_table.submit(
        "daily summary", summaries, f"Commits from {chosen[-1]} to {chosen[0]}, days of {timezone}"
    ).result()
    return chosen
