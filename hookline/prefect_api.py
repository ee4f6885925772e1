"""The only module that is a client of the Prefect server; its event stream is in `prefect_events`.

It goes through Prefect's own client, so that Prefect's settings (address, auth string, API key, custom
headers, CSRF, TLS) mean what they mean to Prefect. Retrying is left to the callers, who know what waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast
from urllib.parse import quote

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_UI_URL,
    temporary_settings,
)

from hookline.errors import PrefectRefused, PrefectUnavailable, SettingsError
from hookline.event import now, rfc3339
from hookline.feed import Feed, PrefectEvent
from hookline.prefect_events import stored, subscription

#: Statuses after which the same request may succeed later; so may any 5xx.
_TRY_AGAIN = (408, 425, 429)
#: Statuses after which Prefect's client sleeps.
_CLIENT_SLEEPS = (408, 429, 502, 503)
#: Runs in these states occupy a place of their pool.
_OUTSTANDING = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
#: Prefect gives at most this many rows of a filter at once.
PAGE = 200
#: What is shown of an answer that refuses.
_RESPONSE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """A deployment as Prefect has it.

    Parameters
    ----------
    parameter_schema: the JSON Schema of the flow's parameters.
    parameters: the deployment's defaults.
    """

    id: str
    name: str
    flow_name: str
    work_pool: str | None
    paused: bool
    parameter_schema: Mapping[str, Any]
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]

    @property
    def lane(self) -> str:
        """Return `flow/deployment`."""
        return f"{self.flow_name}/{self.name}"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A flow run as Prefect has it; times are None until they have happened."""

    id: str
    name: str
    deployment_id: str | None
    state: str
    created: datetime
    state_at: datetime
    started: datetime | None
    finished: datetime | None
    idempotency_key: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewRun:
    """A flow run to be created.

    Parameters
    ----------
    deployment_id: which deployment runs.
    idempotency_key: a second creation with the same key gives the first one's run.
    scheduled: when it is to start; None is now.
    """

    deployment_id: str
    idempotency_key: str
    name: str
    tags: Sequence[str]
    parameters: Mapping[str, Any]
    job_variables: Mapping[str, Any] | None = None
    scheduled: datetime | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RunNotice:
    """News of a flow run from Prefect's event stream."""

    flow_run_id: str
    state: str
    at: datetime
    task_run_id: str | None = None
    deployment_id: str | None = None


class PrefectApi:
    """A client of one Prefect server; open it with `PrefectApi.open`."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._feed = Feed(subscription)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[PrefectApi]:
        """Connect to the server that Prefect's settings name; it need not be up yet.

        Raises
        ------
        SettingsError: no address is set, and Prefect would start a server of its own.
        """
        require_address()
        # One try a call: Prefect's client would otherwise wait up to a minute inside a call.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            settings = {
                "timeout": httpx.Timeout(20, connect=5),
                "event_hooks": {"response": [_fail_at_once]},
            }
            async with get_client(httpx_settings=settings) as client:
                yield cls(client)

    @property
    def ui_url(self) -> str:
        """Return the address of the Prefect UI, without a trailing slash."""
        url = PREFECT_UI_URL.value() or str(PREFECT_API_URL.value()).removesuffix("/").removesuffix("/api")
        return str(url).rstrip("/")

    def run_url(self, flow_run_id: str) -> str:
        """Return the address of a run's page in the Prefect UI."""
        return f"{self.ui_url}/runs/flow-run/{flow_run_id}"

    async def is_healthy(self) -> bool:
        """Return whether the server answers."""
        try:
            await self._call("GET", "/health")
        except (PrefectUnavailable, PrefectRefused):
            return False
        return True

    # Deployments and pools ------------------------------------------------------------------------

    async def deployments(self) -> list[DeploymentInfo]:
        """Return all deployments."""
        flows = {row["id"]: row["name"] for row in await self._filter("/flows/filter", {})}
        return [
            _deployment(row, flows.get(row["flow_id"], ""))
            for row in await self._filter("/deployments/filter", {})
        ]

    async def deployment(self, lane: str) -> DeploymentInfo:
        """Return the deployment `flow/deployment`.

        Raises
        ------
        PrefectRefused: there is none.
        """
        flow_name, _, name = lane.partition("/")
        row = await self._call("GET", f"/deployments/name/{_quoted(flow_name)}/{_quoted(name)}")
        return _deployment(row, flow_name)

    async def pool_limit(self, work_pool: str) -> int | None:
        """Return a work pool's concurrency limit, or None where it has none."""
        row = await self._call("GET", f"/work_pools/{_quoted(work_pool)}")
        limit = row.get("concurrency_limit")
        return None if limit is None else int(limit)

    async def outstanding(self, *, deployment_id: str | None = None, work_pool: str | None = None) -> int:
        """Return how many runs are due or under way, whoever made them."""
        body: dict[str, Any] = {
            "flow_runs": {
                "state": {"type": {"any_": _OUTSTANDING}},
                "expected_start_time": {"before_": rfc3339(now())},
            }
        }
        if deployment_id is not None:
            body["deployments"] = {"id": {"any_": [deployment_id]}}
        if work_pool is not None:
            body["work_pools"] = {"name": {"any_": [work_pool]}}
        return int(await self._call("POST", "/flow_runs/count", body))

    async def create_pool(self, name: str, type: str) -> bool:
        """Make a work pool unless there is one of that name; return whether it was made."""
        try:
            await self._call("GET", f"/work_pools/{_quoted(name)}")
        except PrefectRefused as refused:
            if refused.status != 404:
                raise
        else:
            return False
        await self._call("POST", "/work_pools/", {"name": name, "type": type})
        return True

    # Runs -----------------------------------------------------------------------------------------

    async def create_run(self, new: NewRun) -> RunInfo:
        """Create a flow run, or get the one that was created with the same idempotency key.

        Raises
        ------
        PrefectUnavailable: Prefect is away or overloaded; the run may or may not have been created.
        PrefectRefused: the deployment is missing, or the parameters do not fit it.
        """
        details: dict[str, Any] = {}
        if new.scheduled is not None:
            details = {"scheduled_time": rfc3339(new.scheduled)}
        body: dict[str, Any] = {
            "parameters": new.parameters,
            "name": new.name,
            "tags": list(new.tags),
            "idempotency_key": new.idempotency_key,
            "state": {"type": "SCHEDULED", "state_details": details},
        }
        if new.job_variables:
            body["job_variables"] = new.job_variables
        if new.labels:
            body["labels"] = new.labels
        return _run(await self._call("POST", f"/deployments/{new.deployment_id}/create_flow_run", body))

    async def runs(self, flow_run_ids: Sequence[str]) -> list[RunInfo]:
        """Return the runs that exist among these."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(flow_run_ids), PAGE):
            wanted = list(flow_run_ids[start : start + PAGE])
            rows += await self._call(
                "POST", "/flow_runs/filter", {"flow_runs": {"id": {"any_": wanted}}, "limit": PAGE}
            )
        return [_run(row) for row in rows]

    async def runs_by_key(self, idempotency_keys: Sequence[str]) -> list[RunInfo]:
        """Return the runs that were created with these idempotency keys."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(idempotency_keys), PAGE):
            wanted = list(idempotency_keys[start : start + PAGE])
            rows += await self._filter(
                "/flow_runs/filter", {"flow_runs": {"idempotency_key": {"any_": wanted}}}
            )
        return [_run(row) for row in rows]

    async def first_tasks(self, flow_run_ids: Sequence[str]) -> dict[str, datetime]:
        """Return when the first task of each of these runs started, for those where one did."""
        first: dict[str, datetime] = {}
        for start in range(0, len(flow_run_ids), PAGE):
            wanted = list(flow_run_ids[start : start + PAGE])
            for row in await self._filter("/task_runs/filter", {"flow_runs": {"id": {"any_": wanted}}}):
                started = _moment(row.get("start_time"))
                run_id = row["flow_run_id"]
                if started is not None and (run_id not in first or started < first[run_id]):
                    first[run_id] = started
        return first

    async def link_run(self, flow_run_id: str, *, key: str, url: str, text: str) -> None:
        """Give a run an artifact that links to its trace."""
        await self._call(
            "POST",
            "/artifacts/",
            {
                "key": key,
                "type": "markdown",
                "data": f"[{text}]({url})",
                "description": "The event that started this run, at Hookline.",
                "flow_run_id": flow_run_id,
            },
        )

    # Events ---------------------------------------------------------------------------------------

    async def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Put events into Prefect's feed."""
        await self._call("POST", "/events", list(events))

    async def notices(self) -> AsyncIterator[RunNotice]:
        """Yield news of flow runs and of the tasks that start in them, until the connection breaks.

        Raises
        ------
        StreamLost: it broke.
        """
        async for event in self._feed.listen():
            if (notice := _notice(event)) is not None:
                yield notice

    def events(self) -> AsyncIterator[PrefectEvent]:
        """Yield what happens to runs and assets, and what others emit, until the connection breaks.

        Raises
        ------
        StreamLost: it broke.
        """
        return self._feed.listen()

    async def count_events(self, since: datetime, until: datetime) -> int:
        """Return how many of the events that `events` yields Prefect has stored, some seconds behind."""
        page = await self._call("POST", "/events/filter", {**stored(since, until), "limit": 0})
        return int(page["total"])

    async def past_events(self, since: datetime, until: datetime) -> AsyncIterator[list[PrefectEvent]]:
        """Yield the stored ones of the events that `events` yields, oldest first, page by page."""
        page = await self._call("POST", "/events/filter", stored(since, until))
        while True:
            yield [PrefectEvent.from_json(document) for document in page["events"]]
            _, _, token = (page.get("next_page") or "").partition("page-token=")
            if not token:
                return
            page = await self._call("GET", f"/events/filter/next?page-token={quote(token, safe='=')}")

    async def rows(self, path: str, body: dict[str, Any], *, pages: int) -> list[dict[str, Any]]:
        """Return rows of a filter as Prefect's API gives them, at most so many pages.

        Parameters
        ----------
        path: such as `/task_runs/filter`.
        body: the filter.
        """
        return await self._filter(path, body, pages=pages)

    async def count(self, path: str, body: dict[str, Any]) -> int:
        """Return a count of Prefect's API, such as that of `/task_runs/count`."""
        return int(await self._call("POST", path, body))

    # ----------------------------------------------------------------------------------------------

    async def _filter(
        self, path: str, body: dict[str, Any], *, pages: int | None = None
    ) -> list[dict[str, Any]]:
        """Return all rows of a filter, page by page, or those of the first pages."""
        rows: list[dict[str, Any]] = []
        while True:
            page = await self._call("POST", path, {**body, "limit": PAGE, "offset": len(rows)})
            rows += page
            if len(page) < PAGE or (pages is not None and len(rows) >= pages * PAGE):
                return rows

    async def _call(self, method: Literal["GET", "POST"], path: str, body: Any = None) -> Any:
        """Return a call's answer as JSON.

        Raises
        ------
        PrefectUnavailable: no answer, or one that says to try again.
        PrefectRefused: the request is wrong.
        """
        try:
            response = await self._client.request(method, cast(Any, path), json=body)
        except PrefectHTTPStatusError as failed:
            raise _failure(failed.response) from failed
        except httpx.HTTPError as failed:
            raise PrefectUnavailable(f"Prefect does not answer: {type(failed).__name__}") from failed
        return response.json() if response.content else None


def require_address() -> str:
    """Return the address of Prefect's API.

    Raises
    ------
    SettingsError: none is set, and Prefect's client would start a server of its own.
    """
    address = PREFECT_API_URL.value()
    if not address:
        raise SettingsError(
            "No Prefect address is set. Set PREFECT_API_URL, for example to http://127.0.0.1:4200/api,"
            " or use `hookline up`, which starts a server."
        )
    return str(address)


async def _fail_at_once(response: httpx.Response) -> None:
    """Raise on an answer after which Prefect's client would sleep for two seconds, tries left or not."""
    if response.status_code in _CLIENT_SLEEPS:
        await response.aread()
        raise _failure(response)


def _failure(response: httpx.Response) -> PrefectUnavailable | PrefectRefused:
    text = response.text[:_RESPONSE_CHARACTERS]
    status = response.status_code
    reason = f"Prefect answered {status} to {response.request.method} {response.request.url.path}"
    if status in _TRY_AGAIN or status >= 500 or (status == 403 and "CSRF" in text):
        return PrefectUnavailable(reason, _seconds(response.headers.get("Retry-After")), status)
    return PrefectRefused(f"{reason}: {text[:200]}", status, text)


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _deployment(row: Mapping[str, Any], flow_name: str) -> DeploymentInfo:
    return DeploymentInfo(
        id=row["id"],
        name=row["name"],
        flow_name=flow_name,
        work_pool=row.get("work_pool_name"),
        paused=bool(row.get("paused")),
        parameter_schema=row.get("parameter_openapi_schema") or {},
        parameters=row.get("parameters") or {},
        tags=tuple(row.get("tags") or ()),
    )


def _run(row: Mapping[str, Any]) -> RunInfo:
    state = row.get("state") or {}
    created = _moment(row["created"]) or now()
    return RunInfo(
        id=row["id"],
        name=row["name"],
        deployment_id=row.get("deployment_id"),
        state=row.get("state_type") or state.get("type") or "SCHEDULED",
        created=created,
        state_at=_moment(state.get("timestamp")) or created,
        started=_moment(row.get("start_time")),
        finished=_moment(row.get("end_time")),
        idempotency_key=row.get("idempotency_key"),
        tags=tuple(row.get("tags") or ()),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _notice(event: PrefectEvent) -> RunNotice | None:
    kind, _, resource_id = event.resource_id.removeprefix("prefect.").partition(".")
    state = event.payload.get("validated_state") or {}
    state_type = state.get("type") if isinstance(state, dict) else None
    if kind == "flow-run" and state_type:
        return RunNotice(resource_id, state_type, event.occurred, deployment_id=_related(event, "deployment"))
    if event.name == "prefect.task-run.Running" and (flow_run := _related(event, "flow-run")):
        return RunNotice(flow_run, "RUNNING", event.occurred, task_run_id=resource_id)
    return None


def _related(event: PrefectEvent, role: str) -> str | None:
    return next((related.rpartition(".")[2] for related in event.related_ids(role)), None)
