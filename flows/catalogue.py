"""A dataset was loaded: keep the catalogue of what the warehouse holds, and tell of changed columns."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run

from hookline import Event
from tasks.artifacts import publish_table
from tasks.catalogue import Changes, cataloguing, compare, last_columns, look_at, name_table
from tasks.gateway import announce


@flow(name="catalogue-table")
def catalogue_table(event: Event | None = None, table: str | None = None) -> Changes:
    """Write down what a loaded table holds, and return how its columns changed since the last time.

    Parameters
    ----------
    event: a `dataset.loaded` event; its data has a member `table`.
    table: the table, for a run that no event has started.
    """
    name = name_table(event, table)
    cause = event.id if event is not None else str(flow_run.get_id())

    looking = look_at.submit(name)
    before = last_columns.submit(name, cause)
    look = looking.result()

    entry = cataloguing(name).submit(look, cause)
    published = publish_table.submit(
        f"catalogue {name}", [look.figures], f"`{name}` in the warehouse: {look.rows} rows"
    )
    changes = compare(before.result(), look)
    if changes:
        announce("dataset.changed", changes, subject=name)
    entry.result()
    published.result()
    return changes
