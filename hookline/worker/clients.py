"""Prefect clients for one flow run, made before the run is known and with what is known left out."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import prefect.client.orchestration as orchestration
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import get_current_settings

from hookline.worker.line import Line
from hookline.worker.patience import AsyncPatientTransport, PatientTransport


class Knowledge:
    """What is known of the run in hand, so that the engine need not ask the server for it.

    Parameters
    ----------
    line: the line to the worker.
    flow_run: the flow run as the server has it.
    labels: what the worker adds to its labels.
    """

    def __init__(self, line: Line, flow_run: FlowRun, labels: dict[str, Any]) -> None:
        self._line = line
        self.flow_run = flow_run
        self._labels = labels
        self._described = False
        self._is_known = False
        self._fresh: FlowRun | None = None

    def describe(self, version: str | None, policy: FlowRunPolicy | None) -> None:
        """Let the worker write what the engine writes at a run's start, after the start."""
        self._described = True
        self._policy = policy
        self._line.send(
            {
                "type": "describe",
                "flow_version": version,
                "empirical_policy": None if policy is None else policy.model_dump(mode="json"),
            }
        )
        self.flow_run = self.flow_run.model_copy(
            update={"flow_version": version, "infrastructure_pid": str(os.getpid())}
        )

    def await_description(self, state: State[Any]) -> None:
        """Return when the server knows the run's retries, which it asks for as soon as a run ends."""
        if self._described and not self._is_known and not state.is_running():
            self._line.send({"type": "await-description"})
            self._line.wait("described")
            self._is_known = True

    def note(self, run_id: UUID | str, result: OrchestrationResult[Any]) -> None:
        """Note how the server answered, and what it then changed in the run."""
        state = result.state
        if result.status != SetStateStatus.ACCEPT or state is None or str(run_id) != str(self.flow_run.id):
            return
        if state.is_running():
            self._line.send({"type": "running"})
            if self._described:
                self._fresh = self.flow_run = self.flow_run.model_copy(
                    update={
                        "state": state,
                        "state_id": state.id,
                        "state_type": state.type,
                        "state_name": state.name,
                        "start_time": self.flow_run.start_time or state.timestamp,
                        "run_count": self.flow_run.run_count + 1,
                        "next_scheduled_start_time": None,
                        "empirical_policy": self._policy or self.flow_run.empirical_policy,
                        "labels": {**self.flow_run.labels, **self._labels},
                    }
                )

    def is_of(self, run_id: UUID) -> bool:
        """Return whether that is the run in hand, and it is not yet described."""
        return run_id == self.flow_run.id and not self._described

    def take_fresh(self, run_id: UUID) -> FlowRun | None:
        """Return the run as the server has it since it became Running; once for each time it does."""
        if run_id != self.flow_run.id:
            return None
        fresh, self._fresh = self._fresh, None
        return fresh


class RunClient(SyncPrefectClient):
    """The synchronous client of a run's engine."""

    knowledge: Knowledge

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Read a flow run; the one that has just become Running is known."""
        return self.knowledge.take_fresh(flow_run_id) or super().read_flow_run(flow_run_id)

    def update_flow_run(self, flow_run_id: UUID, *args: Any, **changes: Any) -> httpx.Response:
        """Update a flow run; what the engine writes at the start is left to the worker."""
        if not args and self.knowledge.is_of(flow_run_id) and set(changes) == _START:
            self.knowledge.describe(changes["flow_version"], changes["empirical_policy"])
            return httpx.Response(204)
        return super().update_flow_run(flow_run_id, *args, **changes)

    def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Propose a state."""
        self.knowledge.await_description(state)
        result: OrchestrationResult[Any] = super().set_flow_run_state(flow_run_id, state, force)
        self.knowledge.note(flow_run_id, result)
        return result


class AsyncRunClient(PrefectClient):
    """The asynchronous client of a run's engine."""

    knowledge: Knowledge

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Read a flow run; the one that has just become Running is known."""
        return self.knowledge.take_fresh(flow_run_id) or await super().read_flow_run(flow_run_id)

    async def update_flow_run(self, flow_run_id: UUID, *args: Any, **changes: Any) -> httpx.Response:
        """Update a flow run; what the engine writes at the start is left to the worker."""
        if not args and self.knowledge.is_of(flow_run_id) and set(changes) == _START:
            self.knowledge.describe(changes["flow_version"], changes["empirical_policy"])
            return httpx.Response(204)
        return await super().update_flow_run(flow_run_id, *args, **changes)

    async def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Propose a state."""
        self.knowledge.await_description(state)
        result: OrchestrationResult[Any] = await super().set_flow_run_state(flow_run_id, state, force)
        self.knowledge.note(flow_run_id, result)
        return result


#: What the engine's `initialize_run` passes to `update_flow_run`.
_START = {"flow_version", "empirical_policy"}


class _SharedTls:
    """Stands in for the module `ssl` where Prefect makes its clients, each with a TLS context of its own.

    Reading the certificates takes tens of milliseconds; one context serves all clients of a process.
    """

    def __init__(self) -> None:
        self._contexts: dict[str, ssl.SSLContext] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)

    def create_default_context(self, *args: Any, **options: Any) -> ssl.SSLContext:
        """Return a context; the same one for the same file of certificates."""
        if args or set(options) != {"cafile"}:
            return ssl.create_default_context(*args, **options)
        file = options["cafile"]
        if file not in self._contexts:
            self._contexts[file] = ssl.create_default_context(cafile=file)
        return self._contexts[file]


def share_tls() -> None:
    """Let all of Prefect's clients of this process share their TLS contexts."""
    setattr(orchestration, "ssl", _SharedTls())  # noqa: B010 (mypy: a module)


class Clients:
    """A run's two clients, made ahead of need: their TLS contexts alone take tens of milliseconds."""

    def __init__(self) -> None:
        settings = get_current_settings()
        auth = settings.api.auth_string
        key = settings.api.key
        if not settings.api.url:
            raise RuntimeError("There is no Prefect address; set PREFECT_API_URL.")
        self._address = settings.api.url
        self._options: dict[str, Any] = {
            "auth_string": None if auth is None else auth.get_secret_value(),
            "api_key": None if key is None else key.get_secret_value(),
        }
        self.sync = RunClient(self._address, **self._options)
        self.sync._client._transport = PatientTransport(self.sync._client._transport)
        self.asynchronous = self._make_asynchronous()

    def without_csrf(self) -> None:
        """Do not ask for a CSRF token: the server has said that it wants none."""
        for client in (self.sync, self.asynchronous):
            http: Any = client._client
            http.enable_csrf_support = False

    @contextmanager
    def known(self, knowledge: Knowledge) -> Iterator[None]:
        """Make these the clients of a run; the synchronous one keeps its connection for the next."""
        self.sync.knowledge = self.asynchronous.knowledge = knowledge
        if not self.sync._started:
            self.sync.__enter__()
        context = SyncClientContext.model_construct(client=self.sync)
        token = SyncClientContext.__var__.set(context)
        try:
            yield
        finally:
            SyncClientContext.__var__.reset(token)

    def within(self) -> AsyncClientContext:
        """Return an asynchronous context in which the asynchronous client is that of the run."""
        if self.asynchronous._closed:  # it belonged to the event loop of a run before
            knowledge = self.asynchronous.knowledge
            self.asynchronous = self._make_asynchronous()
            self.asynchronous.knowledge = knowledge
        return AsyncClientContext.model_construct(client=self.asynchronous)

    def _make_asynchronous(self) -> AsyncRunClient:
        client = AsyncRunClient(self._address, **self._options)
        client._client._transport = AsyncPatientTransport(client._client._transport)
        return client
