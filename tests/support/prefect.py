"""Short ways to put things into a Prefect server and to ask it questions, by its HTTP API alone."""

from __future__ import annotations

import threading
from typing import Any

import httpx


class PrefectHttp:
    """A Prefect server as somebody outside Hookline sees it: the oracle of many tests.

    Parameters
    ----------
    api_url: the server's address, with `/api`.
    """

    def __init__(self, api_url: str) -> None:
        self._client = httpx.Client(base_url=api_url, timeout=75)  # its SQLite may stay locked for 60

    def get(self, path: str) -> Any:
        answer = self._client.get(path)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def patch(self, path: str, body: Any) -> Any:
        return self._send("PATCH", path, body)

    def post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: Any) -> Any:
        for wait_seconds in (0.1, 0.2, 0.5, 1, 2, 0):
            answer = self._client.request(method, path, json=body)
            if answer.status_code != 503:
                break
            # Its SQLite was locked; the server gives no sign of when it no longer is.
            threading.Event().wait(wait_seconds)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def pool(self, name: str, type: str = "process", limit: int | None = None) -> str:
        """Make a work pool; return its name."""
        self.post("/work_pools/", {"name": name, "type": type, "concurrency_limit": limit})
        return name

    def deployment(self, flow: str, name: str, pool: str | None = None, **more: Any) -> str:
        """Make a flow and a deployment of it that no worker needs to know; return the deployment's id."""
        flow_id = self.post("/flows/", {"name": flow})["id"]
        body = {"name": name, "flow_id": flow_id, "work_pool_name": pool, "enforce_parameter_schema": False}
        return str(self.post("/deployments/", {**body, **more})["id"])

    def runs(self, **flow_runs: Any) -> list[dict[str, Any]]:
        """Return the flow runs that a filter finds, such as `tags={"all_": ["event:..."]}`."""
        found: list[dict[str, Any]] = []
        while True:
            body = {"flow_runs": flow_runs, "limit": 200, "offset": len(found), "sort": "ID_DESC"}
            page = self.post("/flow_runs/filter", body)
            found += page
            if len(page) < 200:
                return found

    def runs_of_event(self, event_id: str) -> list[dict[str, Any]]:
        """Return the flow runs that carry an event's tag."""
        return self.runs(tags={"all_": [f"event:{event_id}"]})

    def set_state(self, run_id: str, type: str, name: str | None = None) -> None:
        """Force a run into a state, as somebody does in the UI."""
        state = {"type": type, "name": name or type.title()}
        self.post(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
