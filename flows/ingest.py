"""A file is ready: fetch it, check it, load it into the warehouse, and tell others that it is there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, unmapped
from prefect.futures import wait
from prefect.runtime import flow_run

from hookline import Event
from tasks.artifacts import publish_table
from tasks.files import validate
from tasks.gateway import announce
from tasks.http import fetch
from tasks.resources import Resource, describe
from tasks.settings import task_settings
from tasks.warehouse import Loaded, loading, profile

#: One profiling task looks after this many columns.
COLUMNS_EACH = 8


@flow(name="ingest-resource")
def ingest_resource(event: Event | None = None, resource: Resource | None = None) -> Loaded:
    """Load a file into the warehouse, in place of the rows that it gave before.

    Parameters
    ----------
    event: a `resource.ready` event; its data is that of a `Resource`.
    resource: the file, for a run that no event has started.
    """
    described = describe(event, resource)
    with staging() as folder:
        fetched = fetch(described, folder)
        contents = validate(described, fetched)

        loaded = loading(described.table, described.name).submit(described.table, contents, fetched)
        # Any: Prefect's types do not know that a list of futures may stand for the values.
        figures: Any = profile.map(shares(contents.columns), unmapped(contents))

        told = announce.submit("dataset.loaded", loaded, subject=described.table)
        published = publish_table.submit(
            f"quality {described.table}", figures, f"`{described.name}`: {contents.rows} rows"
        )
        wait([*figures, loaded, told, published])
    result = loaded.result()  # first, because its error tells why the others could not be
    told.result()
    published.result()
    return result


@contextlib.contextmanager
def staging() -> Iterator[Path]:
    """Give a folder for this run's files, which is gone at the end; a retry of the run gets the same."""
    folder = task_settings().data / "staging" / str(flow_run.get_id())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shares(columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Part the columns among tasks that profile them side by side."""
    return [tuple(columns[start : start + COLUMNS_EACH]) for start in range(0, len(columns), COLUMNS_EACH)]
