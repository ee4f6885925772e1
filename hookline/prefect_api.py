"""The only module that is a client of the Prefect server; its event stream is in `prefect_events`.

It goes through Prefect's own client, so that Prefect's settings (address, auth string, API key, custom
headers, CSRF, TLS) mean what they mean to Prefect. Retrying is left to the callers, who know what waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, cast
from urllib.parse import quote

import httpx
import orjson
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
from hookline.prefect_rows import (
    DeploymentInfo,
    NewRun,
    PoolInfo,
    RunInfo,
    RunNotice,
    Tagged,
    read_deployment,
    read_moment,
    read_notice,
    read_pool,
    read_run,
)
from hookline.retrying import retry_after_seconds

__all__ = [
    "PAGE",
    "DeploymentInfo",
    "NewRun",
    "PoolInfo",
    "PrefectApi",
    "RunInfo",
    "RunNotice",
    "Tagged",
    "require_address",
]

#: Statuses that say that this request will never succeed. Any other failure may be over later: Prefect is
#: away, overloaded, behind a proxy that is not ready, or does not know our credentials.
_REQUEST_IS_WRONG = (400, 404, 409, 410, 413, 422)
#: A proxy may ask for any time; nobody's events wait for so long because of one.
_LONGEST_RETRY_AFTER_SECONDS = 60.0
#: Runs in these states occupy a place of their pool.
_OUTSTANDING = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
_FINISHED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
#: The server's clock may be ahead of ours: what it made just now is due now.
_CLOCKS_APART = timedelta(seconds=10)
#: Prefect gives at most this many rows of a filter at once.
PAGE = 200
#: What is shown of an answer that refuses.
_RESPONSE_CHARACTERS = 2000
_JSON = {"Content-Type": "application/json"}


class PrefectApi:
    """A client of one Prefect server; open it with `PrefectApi.open`."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        #: Since when the server has not answered, as far as it was asked; None while it does.
        self.away_since: datetime | None = None
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

    async def server_version(self) -> str:
        """Return the server's version."""
        return str(await self._call("GET", "/admin/version"))

    async def server_time(self) -> datetime | None:
        """Return the server's time, to the second, if it says it."""
        response = await self._request("GET", "/health", b"")
        date = response.headers.get("Date")
        return parsedate_to_datetime(date) if date else None

    async def automations(self) -> list[dict[str, Any]]:
        """Return all automations, as Prefect's API gives them."""
        return await self._filter("/automations/filter", {"sort": "CREATED_DESC"})

    # Deployments and pools ------------------------------------------------------------------------

    async def deployments(self) -> list[DeploymentInfo]:
        """Return all deployments."""
        flows = {row["id"]: row["name"] for row in await self._filter("/flows/filter", {})}
        return [
            read_deployment(row, flows.get(row["flow_id"], ""))
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
        return read_deployment(row, flow_name)

    async def pool(self, work_pool: str) -> PoolInfo:
        """Return a work pool.

        Raises
        ------
        PrefectRefused: there is none of that name.
        """
        return read_pool(await self._call("GET", f"/work_pools/{_quoted(work_pool)}"))

    async def pool_limit(self, work_pool: str) -> int | None:
        """Return a work pool's concurrency limit, or None where it has none."""
        return (await self.pool(work_pool)).limit

    async def online_workers(self, work_pool: str) -> int:
        """Return how many workers of a pool are alive."""
        rows = await self._call("POST", f"/work_pools/{_quoted(work_pool)}/workers/filter", {"limit": PAGE})
        return sum(row.get("status") == "ONLINE" for row in rows)

    async def outstanding(self, *, deployment_id: str | None = None, work_pool: str | None = None) -> int:
        """Return how many runs are due or under way, whoever made them."""
        body: dict[str, Any] = {
            "flow_runs": {
                "state": {"type": {"any_": _OUTSTANDING}},
                "expected_start_time": {"before_": rfc3339(now() + _CLOCKS_APART)},
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
        path = f"/deployments/{new.deployment_id}/create_flow_run"
        return read_run(await self._call("POST", path, content=new.to_json()))

    async def runs(self, flow_run_ids: Sequence[str], *, finished_only: bool = False) -> list[RunInfo]:
        """Return the runs that exist among these, or those of them that are finished."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(flow_run_ids), PAGE):
            wanted: dict[str, Any] = {"id": {"any_": list(flow_run_ids[start : start + PAGE])}}
            if finished_only:
                wanted["state"] = {"type": {"any_": _FINISHED}}
            rows += await self._call("POST", "/flow_runs/filter", {"flow_runs": wanted, "limit": PAGE})
        return [read_run(row) for row in rows]

    async def runs_by_key(self, idempotency_keys: Sequence[str]) -> list[RunInfo]:
        """Return the runs that were created with these idempotency keys."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(idempotency_keys), PAGE):
            wanted = list(idempotency_keys[start : start + PAGE])
            flow_runs = {"idempotency_key": {"any_": wanted}}
            rows += await self._filter("/flow_runs/filter", {"flow_runs": flow_runs, "sort": "ID_DESC"})
        return [read_run(row) for row in rows]

    async def count_runs(
        self,
        *,
        ids: Sequence[str] | None = None,
        idempotency_keys: Sequence[str] | None = None,
        tagged: Tagged | None = None,
    ) -> int:
        """Return how many runs there are with one of these ids, one of these idempotency keys, and a tag."""
        wanted: dict[str, Any] = {
            name: {"any_": list(values)}
            for name, values in (("id", ids), ("idempotency_key", idempotency_keys))
            if values is not None
        }
        if tagged is not None:
            wanted |= tagged.to_filter()
        return await self.count("/flow_runs/count", {"flow_runs": wanted})

    async def tagged_runs(self, tagged: Tagged) -> AsyncIterator[list[RunInfo]]:
        """Yield the runs with a tag page by page, those that were to start first at first."""
        body = {"flow_runs": tagged.to_filter(), "sort": "EXPECTED_START_TIME_ASC", "limit": PAGE}
        offset = 0
        while page := await self._call("POST", "/flow_runs/filter", {**body, "offset": offset}):
            yield [read_run(row) for row in page]
            offset += len(page)

    async def first_task(self, flow_run_id: str) -> datetime | None:
        """Return when the first task of a run started, if one did."""
        body = {
            "flow_runs": {"id": {"any_": [flow_run_id]}},
            "task_runs": {"start_time": {"is_null_": False}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 1,
        }
        rows = await self._call("POST", "/task_runs/filter", body)
        return read_moment(rows[0].get("start_time")) if rows else None

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
            if (notice := read_notice(event)) is not None:
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

    async def _call(
        self,
        method: Literal["GET", "POST"],
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
    ) -> Any:
        """Return a call's answer as JSON.

        Raises
        ------
        PrefectUnavailable: no answer, or one that says to try again.
        PrefectRefused: the request is wrong.
        """
        response = await self._request(method, path, orjson.dumps(body) if content is None else content)
        try:
            return orjson.loads(response.content) if response.content else None
        except ValueError:
            raise PrefectUnavailable(
                f"What answers at {response.request.url.path} is not Prefect's API; check PREFECT_API_URL,"
                " which should end with /api"
            ) from None

    async def _request(self, method: str, path: str, content: bytes) -> httpx.Response:
        asked = now()
        try:
            response = await self._ask(method, path, content)
        except PrefectUnavailable:
            self.away_since = self.away_since or asked
            raise
        except PrefectRefused:
            self.away_since = None
            raise
        self.away_since = None
        return response

    async def _ask(self, method: str, path: str, content: bytes) -> httpx.Response:
        sent: dict[str, Any] = {"content": content, "headers": _JSON} if method == "POST" else {}
        try:
            return await self._client.request(cast(Any, method), cast(Any, path), **sent)
        except PrefectHTTPStatusError as failed:
            raise _failure(failed.response) from failed
        except httpx.HTTPError as failed:
            raise PrefectUnavailable(f"Prefect does not answer: {type(failed).__name__}") from failed


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
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        await response.aread()
        raise _failure(response)


def _failure(response: httpx.Response) -> PrefectUnavailable | PrefectRefused:
    text = response.text[:_RESPONSE_CHARACTERS]
    status = response.status_code
    reason = f"Prefect answered {status} to {response.request.method} {response.request.url.path}"
    if status in _REQUEST_IS_WRONG and not (status == 404 and _is_elsewhere(response)):
        return PrefectRefused(f"{reason}: {text[:200]}", status, text)
    if status in (401, 403):
        # The next request would be refused as well: that is no fault of this one.
        reason += "; check PREFECT_API_AUTH_STRING, PREFECT_API_KEY and PREFECT_CLIENT_CUSTOM_HEADERS"
    elif status == 404 or 300 <= status < 400:
        reason += "; check PREFECT_API_URL, which should end with /api"
    asked = retry_after_seconds(response.headers.get("Retry-After"))
    return PrefectUnavailable(
        reason, None if asked is None else min(asked, _LONGEST_RETRY_AFTER_SECONDS), status
    )


def _is_elsewhere(response: httpx.Response) -> bool:
    """Return whether a 404 is about the address itself and not about what was asked for there."""
    try:
        detail = response.json().get("detail")
    except (ValueError, AttributeError):
        return True
    return detail in (None, "Not Found")


def _quoted(name: str) -> str:
    return quote(name, safe="")
