"""A flow whose only work is to write down that it ran: the outside proof that an event was acted upon."""

from __future__ import annotations

import os

from prefect import flow
from prefect.runtime import flow_run

from hookline import Event


@flow
def write_down(event: Event | None = None) -> None:
    """Append the event's id and the run's to the ledger, in one write, so that lines do not mix."""
    if event is None:
        raise ValueError("This flow is for events.")
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, f"{event.id} {flow_run.get_id()}\n".encode())
    finally:
        os.close(ledger)
