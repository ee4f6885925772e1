"""Flows that exist for other reasons than an event of ours, and one that emits with Prefect's own means."""

from __future__ import annotations

from prefect import flow
from prefect.deployments import run_deployment
from prefect.events import emit_event

from flows.chain import run_key, tell
from hookline import Event, send


@flow(name="other-emit")
def emit(event: Event | None = None) -> None:
    """Emit an event into Prefect's feed, as flows did before they knew `send`."""
    assert event is not None
    number = event.data["number"]
    emit_event(
        "legacy.finished", resource={"prefect.resource.id": f"legacy.{number}"}, payload={"number": number}
    )


@flow(name="other-listen")
def listen(event: Event | None = None) -> None:
    """Run on the event that was emitted."""
    assert event is not None
    tell("heard", f"event:{event.id}", run_key())


@flow(name="other-call")
def call(event: Event | None = None) -> None:
    """Run another deployment and wait for it."""
    run_deployment("other-answer/answer", timeout=60, poll_interval=0.2)  # type: ignore[unused-coroutine]


@flow(name="other-answer")
def answer() -> None:
    """Send an event, whoever runs this."""
    send("answer.given", {"by": run_key()})
