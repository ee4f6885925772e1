"""Three flows, joined by the events that they send, which write down what they are and do.

What they write is the truth that a graph is compared with: each line of the file is one fact.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.assets import add_asset_metadata, materialize
from prefect.runtime import flow_run, task_run

from hookline import Event, send

TRUTH = Path(os.environ["CHAIN_TRUTH"])
GATE = Path(os.environ["CHAIN_GATE"])


def tell(link: str, source: str, target: str) -> None:
    """Write down an edge, in one write, so that lines of several processes do not mix."""
    line = json.dumps([link, source, target]) + "\n"
    descriptor = os.open(TRUTH, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def run_key() -> str:
    return f"flow_run:{flow_run.get_id()}"


def task_key() -> str:
    return f"task_run:{task_run.get_id()}"


@task
def prepare(number: int) -> int:
    tell("ran", run_key(), task_key())
    return number


@task
def announce(type: str, number: int) -> str:
    """Send an event and write down which."""
    tell("ran", run_key(), task_key())
    event_id = send(type, {"number": number})
    tell("sent", task_key(), f"event:{event_id}")
    return event_id


def writing(key: str, reads: tuple[str, ...] = ()) -> Any:
    """Return a task that writes an asset."""

    @materialize(key, asset_deps=list(reads), name="write")
    def write(number: int) -> int:
        tell("ran", run_key(), task_key())
        tell("wrote", task_key(), f"asset:{key}")
        for read in reads:
            tell("read", f"asset:{read}", task_key())
        add_asset_metadata(key, {"rows": number})
        return number

    return write


def asset(name: str, number: int) -> str:
    return f"memory://shop/{name}/{number}"


@flow(name="chain-orders")
def orders(event: Event | None = None) -> None:
    """Begin the chain: write an asset, tell of it."""
    assert event is not None
    number = event.data["number"]
    tell("started", f"event:{event.id}", run_key())
    written = writing(asset("orders", number))(prepare(number))
    announce("orders.stored", written)


@flow(name="chain-prices")
def prices(event: Event | None = None) -> None:
    """Go on: read the first asset, write a second, keep an artifact, tell of it."""
    assert event is not None
    number = event.data["number"]
    tell("started", f"event:{event.id}", run_key())
    wait_for_gate(number)
    written = writing(asset("prices", number), (asset("orders", number),))(prepare(number))
    create_markdown_artifact(f"Prices {number}", key=f"prices-{number}")
    announce("prices.stored", written)


@flow(name="chain-report")
def report(event: Event | None = None) -> None:
    """End it, in a subflow."""
    assert event is not None
    tell("started", f"event:{event.id}", run_key())
    summary(event.data["number"])


@flow(name="chain-summary")
def summary(number: int) -> None:
    tell("is", "subflow", run_key())
    prepare(number)


def wait_for_gate(number: int) -> None:
    """Wait while a file of this chain's number is there: a test closes the gate to do something meanwhile."""
    deadline = time.monotonic() + 60
    while (GATE / str(number)).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
