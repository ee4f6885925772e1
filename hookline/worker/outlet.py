"""Where a run's logs and events leave its process: through the line to the worker, which batches them.

In a stock flow run process each of the two has a thread, an HTTP or websocket connection and a wait at
the end. Here the worker, whose connections are open anyway, does that for all of its runs.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar, Self
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import Event, RelatedResource
from prefect.events.clients import EventsClient, PrefectEventsClient
from prefect.events.related import object_as_related_resource, tags_as_related_resources
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import set_api_log_sink
from prefect.settings import get_current_settings

from hookline.worker.frames import Frame
from hookline.worker.line import Line

_EVENTS_WORKER_INSTANCE = EventsWorker.__dict__["instance"]
#: Pull steps open an events client for each event; typed as Any since it is theirs, not exported.
_pull_steps: Any = importlib.import_module("prefect.deployments.steps.core")
_EVENTS_CLIENT = _pull_steps.get_events_client


class Outlet:
    """Takes the place of Prefect's log and event services in a child.

    Parameters
    ----------
    line: the line to the worker.
    related: the resources that the run's events are related to, by `<kind>.<id>`, as the worker knows
        them; what is missing is read from Prefect.
    """

    #: `emit_event` sends only where it finds a client that leads somewhere.
    client_type: ClassVar[type[EventsClient]] = PrefectEventsClient

    def __init__(self, line: Line, related: dict[str, Frame]) -> None:
        self._line = line
        self._known: dict[str, Any] = {name: SimpleNamespace(**thing) for name, thing in related.items()}
        self._client: SyncPrefectClient | None = None
        self._process = os.getpid()

    def open(self) -> None:
        """Take over; a process that the flow forks goes back to Prefect's own services."""
        set_api_log_sink(self.log)
        setattr(EventsWorker, "instance", classmethod(self._instance))  # noqa: B010 (mypy: a method)
        _pull_steps.get_events_client = lambda *_, **__: _OutletClient(self)
        os.register_at_fork(after_in_child=self.close)

    def close(self) -> None:
        """Give Prefect its own services back."""
        set_api_log_sink(None)
        setattr(EventsWorker, "instance", _EVENTS_WORKER_INSTANCE)  # noqa: B010 (mypy: a method)
        _pull_steps.get_events_client = _EVENTS_CLIENT
        if os.getpid() != self._process:
            self._line.close()

    def log(self, entry: dict[str, Any]) -> None:
        """Send one log entry, in the shape of Prefect's `LogCreate`."""
        entry.pop("__payload_size__", None)
        self._line.send({"type": "log", "entry": entry})

    def send(self, event: Event) -> None:
        """Send an event with the resources of the run that it comes from, as Prefect's worker does."""
        if "prefect.resource.lineage-group" not in event.resource:
            room = get_current_settings().server.events.maximum_related_resources - len(event.related)
            exclude = {resource.id for resource in event.involved_resources}
            event.related += self._related(exclude)[: max(room, 0)]
        self.pass_on(event)

    def pass_on(self, event: Event) -> None:
        """Send an event as it is."""
        self._line.send({"type": "event", "event": event.model_dump_json()})

    def wait_until_empty(self) -> None:
        """Return at once: nothing is kept here."""

    def _instance(self, worker: type[EventsWorker], client_type: type[EventsClient] | None = None) -> Any:
        if client_type is None:
            return self
        return _EVENTS_WORKER_INSTANCE.__func__(worker, client_type)

    def _related(self, exclude: Iterable[str]) -> list[RelatedResource]:
        """Return what `related_resources_from_run_context` does, without an event loop."""
        flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
        flow_run: FlowRun | None = None
        if flow_context is not None and flow_context.flow_run is not None:
            flow_run = flow_context.flow_run
        elif task_context is not None and task_context.task_run.flow_run_id is not None:
            flow_run = self._read("flow-run", task_context.task_run.flow_run_id)
        if flow_run is None:
            return []
        objects: list[tuple[str, Any]] = [("flow-run", flow_run)]
        if task_context is not None:
            objects.append(("task-run", task_context.task_run))
        for kind, key in (
            ("flow", flow_run.flow_id),
            ("deployment", flow_run.deployment_id),
            ("work-queue", flow_run.work_queue_id),
            ("work-pool", flow_run.work_pool_name),
        ):
            if key is not None:
                objects.append((kind, self._read(kind, key)))
        resources = [object_as_related_resource(kind, kind, thing) for kind, thing in objects]
        tags = {tag for _, thing in objects for tag in getattr(thing, "tags", ())}
        resources += tags_as_related_resources(tags)
        return [resource for resource in resources if resource.id not in exclude]

    def _read(self, kind: str, key: UUID | str) -> Any:
        name = f"{kind}.{key}"
        if name not in self._known:
            self._client = self._client or get_client(sync_client=True)
            read: dict[str, Callable[..., Any]] = {
                "flow-run": self._client.read_flow_run,
                "flow": self._client.read_flow,
                "deployment": self._client.read_deployment,
                "work-queue": self._client.read_work_queue,
                "work-pool": self._client.read_work_pool,
            }
            self._known[name] = read[kind](key)
        return self._known[name]


class _OutletClient(EventsClient):
    """An events client, as pull steps open one for each event, that leads to the outlet."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)

    async def _emit(self, event: Event) -> None:
        self._outlet.pass_on(event)
