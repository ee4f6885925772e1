"""The command line as a client of the gateway: commands read through it, never from the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from hookline.errors import HooklineError
from hookline.settings import Settings

#: What the gateway is given beyond the time that it was asked to wait.
TIMEOUT_SECONDS = 15.0


class GatewayError(HooklineError):
    """The gateway does not answer, or refuses.

    Parameters
    ----------
    status: the HTTP status, or None without an answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Gateway:
    """A client of the gateway that the settings name; a context manager."""

    def __init__(self, settings: Settings) -> None:
        headers = {"Accept": "application/json"}
        if settings.api_key:
            headers["Authorization"] = f"Bearer {settings.api_key}"
        self.url = settings.gateway_url
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, wait_seconds: float = 0) -> Any:
        """Return the answer to a GET as JSON.

        Parameters
        ----------
        path: such as `/events`.
        params: the query; those that are None are left out.
        wait_seconds: how long the gateway may hold the answer.

        Raises
        ------
        GatewayError: no answer, or a refusal; the message says what to do next.
        """
        return self._call("GET", path, params=params, wait_seconds=wait_seconds)

    def post(
        self,
        path: str,
        document: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        wait_seconds: float = 0,
    ) -> Any:
        """Return the answer to a POST of a JSON document; parameters and errors are those of `get`."""
        return self._call("POST", path, document=document, params=params, wait_seconds=wait_seconds)

    def pages(self, path: str, key: str, params: Mapping[str, Any], limit: int) -> Iterator[dict[str, Any]]:
        """Yield at most `limit` items of a listing, page after page.

        Parameters
        ----------
        key: where the items lie in each page; `next` beside it is the cursor of the next one.
        """
        cursor: str | None = None
        while limit > 0:
            page = self.get(path, {**params, "limit": min(limit, 100), "cursor": cursor})
            yield from page[key][:limit]
            limit -= len(page[key])
            cursor = page.get("next")
            if not cursor:
                return

    def _call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None, wait_seconds: float,
        document: Any = None,
    ) -> Any:  # fmt: skip
        given = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            answer = self._client.request(
                method, path, params=given, json=document, timeout=TIMEOUT_SECONDS + wait_seconds
            )
        except httpx.ConnectError:
            raise GatewayError(
                f"No gateway answers at {self.url}. Start one with `hookline up`, or set HOOKLINE_URL to the"
                " address of yours."
            ) from None
        except httpx.HTTPError as failed:
            raise GatewayError(f"The gateway at {self.url} broke off: {type(failed).__name__}.") from None
        if answer.is_success:
            return answer.json()
        raise GatewayError(_refusal(answer), answer.status_code)


def _refusal(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    detail = problem.get("detail") or problem.get("title") or "no reason given"
    if answer.status_code == 401:
        return f"The gateway wants an API key (401): {detail} Set HOOKLINE_API_KEY."
    return f"The gateway refused ({answer.status_code}): {detail}"
