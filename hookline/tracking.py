"""The tracking document: what became of an event, in the one form that the API, the pages and the CLI use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from hookline.event import rfc3339
from hookline.inbox import FINAL_EVENT, Dispatch, DispatchStatus, EventStatus, StoredEvent, Tracked


def tracking_document(
    tracked: Tracked, run_url: Callable[[str], str], explanation: str | None = None
) -> dict[str, Any]:
    """Return an event's tracking document.

    Parameters
    ----------
    tracked: the event and all that became of it.
    run_url: gives the address of a flow run's page in the Prefect UI.
    explanation: why it was ignored, or is not matched yet, in one sentence; None for other events.
    """
    event = tracked.event
    return {
        **event_summary(event),
        "explanation": explanation,
        "dispatches": [_dispatch(d, tracked.leaders, run_url) for d in tracked.dispatches],
        "receipt": receipt(tracked),
        "cause": _cause(event),
        "effects": list(tracked.effects),
    }


def event_summary(event: StoredEvent) -> dict[str, Any]:
    """Return what a list shows of an event."""
    summary = {
        "id": event.id,
        "source": event.source,
        "source_id": event.source_id,
        "type": event.type,
        "subject": event.subject,
        "time": rfc3339(event.time),
        "status": event.status.value,
        "duplicates": event.duplicates,
    }
    return summary if event.erased is None else summary | {"erased": rfc3339(event.erased)}


def is_final(tracked: Tracked) -> bool:
    """Return whether nothing more will happen by itself: its runs are finished, or it is ignored or dead."""
    if tracked.event.status in FINAL_EVENT:
        return True
    if tracked.event.status is not EventStatus.DISPATCHED:
        return False
    return all(run.finished is not None for run in _running(tracked))


def receipt(tracked: Tracked) -> dict[str, str | None]:
    """Return the times of an event's steps; `finished` only when all of its runs are."""
    runs = list(_running(tracked))
    finished = [run.finished for run in runs]
    return {
        "accepted": rfc3339(tracked.event.accepted),
        "routed": _text(tracked.event.routed),
        "run_created": _text(_first(run.run_created for run in runs)),
        "run_started": _text(_first(run.run_started for run in runs)),
        "first_task": _text(_first(run.first_task for run in runs)),
        "finished": _text(max((f for f in finished if f), default=None)) if all(finished) else None,
    }


def _running(tracked: Tracked) -> Iterable[Dispatch]:
    """Return the dispatches that have a run, those that the merged ones led to included."""
    for dispatch in tracked.dispatches:
        if dispatch.status is DispatchStatus.STARTED:
            yield dispatch
        elif dispatch.status is DispatchStatus.MERGED and dispatch.merged_into in tracked.leaders:
            yield tracked.leaders[dispatch.merged_into]


def _dispatch(
    dispatch: Dispatch, leaders: dict[str, Dispatch], run_url: Callable[[str], str]
) -> dict[str, Any]:
    runs_in = leaders.get(dispatch.merged_into or "", dispatch)
    return {
        "id": dispatch.id,
        "trigger": dispatch.trigger_id,
        "replay": dispatch.replay,
        "status": dispatch.status.value,
        "attempts": dispatch.attempts,
        "reason": dispatch.reason,
        "merged_into": dispatch.merged_into,
        "flow_run": _flow_run(runs_in, run_url),
    }


def _flow_run(dispatch: Dispatch, run_url: Callable[[str], str]) -> dict[str, Any] | None:
    if dispatch.flow_run_id is None:
        return None
    return {
        "id": dispatch.flow_run_id,
        "name": dispatch.flow_run_name,
        "deployment": dispatch.lane.partition("/")[2],
        "state": dispatch.state,
        "url": run_url(dispatch.flow_run_id),
        "as_of": _text(dispatch.state_as_of),
    }


def _cause(event: StoredEvent) -> dict[str, Any] | None:
    if event.cause is None:
        return None
    return {
        "kind": "event" if event.cause.event else "unknown",
        "event": event.cause.event,
        "flow_run": event.cause.flow_run,
    }


def _first(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
