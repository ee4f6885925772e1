"""A flow that takes the event, and hands on what it was given to flows of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import flow, task

from hookline import Event


@task
def data_of(event: Event) -> Any:
    return event.data


@flow
def event_below(event: Event) -> Any:
    return event.data


@flow
def data_below(data: Any) -> Any:
    return data


@flow(validate_parameters=False)
def unchecked_below(data: Any) -> Any:
    return data


@flow
def told_event(event: Event, into: str) -> None:
    given = {
        "data": event.data,
        "in a task": data_of(event),
        "in a subflow": event_below(event),
        "data in a subflow": data_below(event.data),
        "data in a subflow without validation": unchecked_below(event.data),
        "copied data in a subflow": data_below({"copied": dict(event.data)}),
    }
    Path(into).write_text(json.dumps(given))
