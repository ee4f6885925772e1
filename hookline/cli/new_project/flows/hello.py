"""Greet whoever an event names."""

from __future__ import annotations

from prefect import flow, get_run_logger, task

from hookline import Event


@task(retries=3, retry_delay_seconds=1)
def compose(name: str) -> str:
    """Return a greeting; a task can be retried, and has a place of its own in the run's graph."""
    return f"Hello, {name}!"


@flow
def greet(event: Event | None = None) -> str:
    """Greet the name in the event's data; without an event, as from a schedule or the UI, the world."""
    greeting = compose(event.data["name"] if event is not None else "world")
    get_run_logger().info(greeting)
    return greeting
