"""The arm of `serve`: the same flows, each with an event trigger, everything else at its default."""

from __future__ import annotations

import os

from flows.fibo import fibos
from flows.timed import timed
from prefect import serve
from prefect.events import DeploymentEventTrigger


def trigger(name: str, *parameters: str) -> DeploymentEventTrigger:
    """Return a trigger that passes parts of the event on as parameters."""
    return DeploymentEventTrigger(
        name=name,
        expect={f"bench.serve.{name}"},
        parameters={each: f"{{{{ event.payload.{each} }}}}" for each in parameters},
    )


if __name__ == "__main__":
    limit = os.environ.get("BENCH_LIMIT")
    serve(
        timed.to_deployment("serve", triggers=[trigger("timed", "number", "ledger")]),
        fibos.to_deployment("serve-fibo", triggers=[trigger("fibos", "number", "ledger", "count", "n")]),
        limit=int(limit) if limit else None,
    )
