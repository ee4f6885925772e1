"""The Prefect run that this code is part of, if it is part of one. No I/O, and no import of Prefect."""

from __future__ import annotations

import itertools
import sys
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextvars import Token
from dataclasses import dataclass
from typing import Any

from hookline.event import Cause, Event
from hookline.trace_context import NO_TRACE, TraceContext, trace_of

#: The tag that the dispatcher puts on a run for each event that started it.
EVENT_TAG = "event:"
#: The label under which Prefect keeps a run's W3C trace context.
TRACEPARENT_LABEL = "__OTEL_TRACEPARENT"
#: Prefect keeps no `tracestate`; under this label it goes along.
TRACESTATE_LABEL = "hookline.tracestate"

# One counter for each event type within one attempt of a run, by the identity of Prefect's context
# object: it is made anew for each attempt, and threads and tasks of the attempt share it, which a
# context variable of ours would not be.
_calls: dict[int, defaultdict[str, Iterator[int]]] = {}


@dataclass(frozen=True, slots=True)
class Run:
    """The run that this code is part of.

    Parameters
    ----------
    cause: the run, and the event that started it.
    trace: the W3C trace context that the run was started with.
    context: Prefect's context object of this attempt.
    """

    cause: Cause
    trace: TraceContext
    context: Any

    @property
    def scope(self) -> str:
        """Return the id that a retry of this code keeps: the task run's, else the flow run's."""
        return self.cause.task_run or self.cause.flow_run or ""

    @property
    def outer_scope(self) -> str:
        """Return the id that a retry of the whole flow keeps: the flow run's, if there is one."""
        return self.cause.flow_run or self.cause.task_run or ""

    def next_call(self, type: str) -> int:
        """Return how many calls for this type this attempt has made before, and count one more."""
        key = id(self.context)
        if key not in _calls:
            _calls.setdefault(key, defaultdict(itertools.count))
            weakref.finalize(self.context, _calls.pop, key, None)
        return next(_calls[key][type])


def current_run() -> Run | None:
    """Return the run that this code is part of; None outside of one."""
    prefect = sys.modules.get("prefect.context")
    if prefect is None:
        return None
    flow = prefect.FlowRunContext.get()
    task = prefect.TaskRunContext.get()
    if task is not None and flow is not None and task.task_run.flow_run_id != flow.flow_run.id:
        # A subflow called from a task: the task is further out than the subflow.
        task = None
    if task is None and (flow is None or flow.flow_run is None):
        return None
    return Run(
        cause=Cause(
            event=next((event for outer in _outwards(flow) if (event := _event(outer))), None),
            flow_run=str(flow.flow_run.id) if flow is not None else _text(task.task_run.flow_run_id),
            task_run=str(task.task_run.id) if task is not None else None,
        ),
        trace=_trace(flow),
        context=task if task is not None else flow,
    )


def _outwards(flow: Any) -> Iterator[Any]:
    """Yield a flow's context and those of the flows around it: only the outermost has the event's tag."""
    while flow is not None and flow is not Token.MISSING:
        if flow.flow_run is not None:
            yield flow
        flow = getattr(getattr(flow, "_token", None), "old_value", None)


def _event(flow: Any) -> str | None:
    # A run may stand for several events, merged into the last one. Prefect keeps tags in no order, but
    # tracking ids sort by time, so the last one can be told.
    events = [tag.removeprefix(EVENT_TAG) for tag in flow.flow_run.tags or () if tag.startswith(EVENT_TAG)]
    return max(events, default=None)


def _trace(flow: Any) -> TraceContext:
    """Return the innermost trace, and the state that came with it from further out."""
    found = [trace for outer in _outwards(flow) for trace in _traces(outer)]
    if not found:
        return NO_TRACE
    # Prefect gives a subflow a place of its own in the trace, and no state.
    states = (each.state for each in found if each.state and each.belongs_to(found[0]))
    return TraceContext(found[0].parent, next(states, None))


def _traces(flow: Any) -> Iterator[TraceContext]:
    labels = flow.flow_run.labels or {}
    label = trace_of(labels.get(TRACEPARENT_LABEL), labels.get(TRACESTATE_LABEL))
    if label.parent is not None:
        yield label
    parameters: Mapping[str, Any] = flow.parameters or {}
    for value in parameters.values():
        if isinstance(value, Event) and value.traceparent:
            yield TraceContext(value.traceparent, value.tracestate)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
