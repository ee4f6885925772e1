"""The same flow as stock Prefect has it: `serve` with an event trigger, everything at its default."""

from __future__ import annotations

from flows.burst import answer
from prefect.events import DeploymentEventTrigger

if __name__ == "__main__":
    answer.serve(
        name="on-burst",
        triggers=[
            DeploymentEventTrigger(
                name="burst",
                expect={"bench.burst"},
                parameters={"number": "{{ event.payload.number }}"},
            )
        ],
    )
