"""One flow with everything whose traces the warm worker's test compares with those of a stock worker."""

from __future__ import annotations

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.assets import materialize
from prefect.events import emit_event


@task
def double(number: int) -> int:
    return 2 * number


@task(tags={"summing"})
def add_up(numbers: list[int]) -> int:
    get_run_logger().info("adding %s numbers", len(numbers))
    return sum(numbers)


@materialize("file://watched/total")
def keep(total: int) -> int:
    return total


@flow
def beside(number: int) -> int:
    return double(number)


@flow(log_prints=True)
def watched(count: int = 3) -> int:
    """Map, depend, print, log, keep an artifact and an asset, send an event, call a flow."""
    doubles = double.map(range(count))
    total = add_up(doubles)
    print(f"the total is {total}")
    create_table_artifact([{"total": total}], key="watched")
    emit_event("watched.summed", resource={"prefect.resource.id": "watched"})
    keep(total)
    beside(total)
    return total


@flow(log_prints=True)
async def watched_soon(count: int = 3) -> int:
    """The same, asynchronously."""
    total = sum([double(number) for number in range(count)])
    print(f"the total is {total}")
    return total


@task
def stumble() -> None:
    raise ValueError("as it should")


@flow(retries=1, retry_delay_seconds=0)
def watched_failing() -> None:
    """A flow that fails twice, in a task."""
    stumble()
