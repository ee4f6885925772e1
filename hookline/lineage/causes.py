"""Why a flow run exists. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.lineage.records import FlowRun


@dataclass(frozen=True, slots=True)
class RunCause:
    """Why a flow run exists.

    Parameters
    ----------
    kind: `event`, `schedule`, `automation`, `parent`, `manual` or `unknown`.
    claimed: it rests on Prefect's `created_by`, which anybody can write.
    by: the name of what made it, where there is one, such as an automation's.
    """

    kind: str
    claimed: bool = False
    by: str | None = None


def cause_of(run: FlowRun | None, *, dispatched: bool) -> RunCause:
    """Return why a run exists.

    Parameters
    ----------
    run: what is known of it; None where nothing is.
    dispatched: a dispatch started it.
    """
    if dispatched:
        return RunCause("event")
    if run is None:
        return RunCause("unknown")
    if run.parent_task_run_id is not None:
        return RunCause("parent")
    if run.auto_scheduled:
        return RunCause("schedule", by=run.creator_name)
    if run.creator_kind == "AUTOMATION":
        return RunCause("automation", claimed=True, by=run.creator_name)
    if run.creator_kind == "SCHEDULE":
        return RunCause("schedule", claimed=True, by=run.creator_name)
    # Prefect was asked and knows nothing of the kind: a person or a program made it.
    return RunCause("unknown" if run.auto_scheduled is None else "manual", by=run.creator_name)
