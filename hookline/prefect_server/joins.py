"""What belongs to a row in Prefect's server on SQLite under `up`: read with the row, not after it.

With each flow run Prefect reads its state, its work queue and that queue's pool, each with a statement of
its own; with each deployment its queue and pool; and it reads the flow run anew for every request. An outer
join gives the same objects with one statement. PostgreSQL cannot lock the rows of an outer join, and Prefect
locks flow runs there.
"""

from __future__ import annotations

from typing import Any

from prefect.server.database import orm_models
from prefect.server.models import flow_runs
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.orm import joinedload

#: Each points to one row at most.
_BELONGS = (
    orm_models.FlowRun._state,
    orm_models.FlowRun.work_queue,
    orm_models.FlowRunState._result_artifact,
    orm_models.TaskRun._state,
    orm_models.TaskRunState._result_artifact,
    orm_models.Deployment.work_queue,
    orm_models.Deployment.global_concurrency_limit,
    orm_models.WorkQueue.work_pool,
)


def join_what_belongs() -> bool:
    """Read what belongs to a row with it; return whether the database is one for it."""
    if not str(PREFECT_API_DATABASE_CONNECTION_URL.value()).startswith("sqlite"):
        return False
    for attribute in _BELONGS:
        relation: Any = attribute.property
        relation.lazy = "joined"
        relation.strategy_key = (("lazy", "joined"),)
        relation.strategy = relation._get_strategy(relation.strategy_key)
    # It asks for the queue and its pool by name.
    setattr(flow_runs, "selectinload", _Joined)  # noqa: B010 (mypy: another type)
    return True


class _Joined:
    """Stands in for `selectinload(first).selectinload(second)`."""

    def __init__(self, first: Any) -> None:
        self._first = first

    def selectinload(self, second: Any) -> Any:
        """Return the option that joins both."""
        return joinedload(self._first).joinedload(second)
