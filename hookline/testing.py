"""For your own tests: make an event, see which triggers of `prefect.yaml` it starts, keep it in memory.

No server is needed. `starts` reads the project file and matches as the dispatcher does:

    from hookline.testing import make_event, starts

    def test_a_push_to_main_is_recorded():
        event = make_event("github.push", {"ref": "refs/heads/main"})
        [start] = starts(event)
        assert start.trigger == "on-push/push-to-main"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hookline.evaluator import with_answers_now
from hookline.event import Cause, Event
from hookline.inbox import Inbox, NewDispatch
from hookline.inbox.records import id_at, to_micros
from hookline.parameter_rendering import render_now
from hookline.planning import plan_dispatch
from hookline.sealed import opened
from hookline.triggers import Match, TriggerSet
from hookline.triggers.project import read_project

__all__ = ["Start", "make_event", "memory_inbox", "starts"]

#: The time of events that are made without one: tests are the same every day.
A_MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Start:
    """What one trigger does with an event that it expects.

    Parameters
    ----------
    trigger: `deployment/name`.
    starts: it starts a run, at once or after a wait.
    reason: why not, where it does not: what the condition said, or what flow control is missing.
    parameters: of the run, with their templates rendered; a flow that takes the event gets it as `event`.
    concurrency_key, debounce_key: by which it waits for others, if it does.
    not_before: until when it waits, if it names a delay.
    """

    trigger: str
    starts: bool
    reason: str | None
    parameters: Mapping[str, Any]
    concurrency_key: str | None = None
    debounce_key: str | None = None
    not_before: datetime | None = None


def make_event(
    type: str,
    data: Any = None,
    *,
    source: str = "test",
    subject: str | None = None,
    source_id: str | None = None,
    time: datetime | None = None,
    accepted: datetime = A_MOMENT,
    cause: Cause | None = None,
    depth: int = 0,
) -> Event:
    """Return an event as a flow gets it.

    Parameters
    ----------
    type, data, source, subject, source_id, cause, depth: as in `hookline.Event`.
    time: when it happened; the accepted time by default.
    accepted: when the gateway took it.
    """
    return Event(
        id=id_at(to_micros(accepted)),
        type=type,
        source=source,
        time=time or accepted,
        accepted=accepted,
        source_id=source_id,
        subject=subject,
        data=data,
        cause=cause,
        depth=depth,
    )


def starts(
    event: Event,
    project: Path | str = "prefect.yaml",
    *,
    environment: Mapping[str, str] | None = None,
    filtered: bool = False,
) -> list[Start]:
    """Return what the triggers of a project that Hookline keeps do with an event.

    Parameters
    ----------
    project: the project file.
    environment: values of `{{ $NAME }}` placeholders; this process's own by default.
    filtered: also those that expect the event and do not start, with the reason.

    Raises
    ------
    DeployError: the file cannot be deployed.
    RenderError: the parameters of a run cannot be rendered for this event.
    """
    read = read_project(Path(project), os.environ if environment is None else environment)
    triggers = TriggerSet(1, read.kept)
    planned = with_answers_now(
        event,
        lambda scope: [(match, plan_dispatch(match, scope)) for match in triggers.match(event, scope)],
    )
    found = [_start(match, plan, event) for match, plan in planned]
    return [start for start in found if start.starts or filtered]


def _start(match: Match, planned: NewDispatch, event: Event) -> Start:
    trigger = match.trigger
    goes = planned.filtered is None and planned.dead is None
    parameters: Mapping[str, Any] = {}
    if goes:
        # Whether a flow takes the event is known when it is deployed; here it is taken to do so.
        parameters = {"event": event} if trigger.parameters is None else opened(render_now(trigger, event))
    return Start(
        trigger=f"{trigger.deployment}/{trigger.name}",
        starts=goes,
        reason=planned.filtered or planned.dead,
        parameters=parameters,
        concurrency_key=planned.concurrency_key,
        debounce_key=planned.debounce_key,
        not_before=planned.due,
    )


def memory_inbox() -> AbstractAsyncContextManager[Inbox]:
    """Return an inbox in memory, to be used with `async with`: the real one, and gone at the end."""
    return Inbox.open("sqlite://")
