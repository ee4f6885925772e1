"""The gateway: telling it what happened, so that other flows may follow."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from hookline import SendRefused, send


def was_undelivered(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect to retry unless the gateway has said no."""
    return not isinstance(state.data, SendRefused)


@task(
    name="announce",
    retries=3,
    retry_delay_seconds=[10, 30, 60],
    retry_condition_fn=was_undelivered,
    cache_policy=NO_CACHE,
)
def announce(type: str, data: Any, subject: str | None = None) -> str:
    """Send an event, once however often this task is retried, and return its tracking id.

    Parameters
    ----------
    type: what happened.
    data: the payload, anything that JSON can hold, dataclasses included.
    subject: what it happened to.

    Raises
    ------
    SendError: the gateway could not be reached. Prefect tries again.
    SendRefused: the gateway does not take the event.
    """
    return send(type, data, subject=subject)
