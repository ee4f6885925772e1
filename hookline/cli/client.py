"""The command line as a client of the gateway: commands read through it, never from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from hookline.cli.system import System
from hookline.errors import HooklineError
from hookline.settings import LOOPBACK, without_user

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
    """A client of a system's gateway; a context manager, which makes sure that it is that system's.

    Raises
    ------
    GatewayError: there is none, or another system's answers at its address.
    """

    def __init__(self, system: System, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        headers = {"Accept": "application/json"}
        if system.settings.api_key:
            headers["Authorization"] = f"Bearer {system.settings.api_key}"
        self.url = system.gateway
        self._shown = without_user(system.gateway)
        host = host_of(self.url)
        if host is None:
            raise GatewayError(f"{self._shown!r} is no address of a gateway; write http://host:port.")
        self._is_here = host in LOOPBACK
        self._system = system
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout_seconds,
            # Reading the certificates of the authorities takes longer than most commands do.
            verify=self.url.startswith("https:"),
            # A proxy must not answer for a process on this machine.
            trust_env=not self._is_here,
        )

    def __enter__(self) -> Gateway:
        if self._system.missing:
            raise GatewayError(self._system.missing)
        if self._system.instance is not None:
            self._check_instance(self._system.instance)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        holds: str | None = None,
        wait_seconds: float = 0,
    ) -> Any:
        """Return the answer to a GET as JSON.

        Parameters
        ----------
        path: such as `/events`.
        params: the query; those that are None are left out.
        holds: a member that a gateway's answer has.
        wait_seconds: how long the gateway may hold the answer.

        Raises
        ------
        GatewayError: no answer, or a refusal; the message says what to do next.
        """
        return self._call("GET", path, params=params, holds=holds, wait_seconds=wait_seconds)

    def post(
        self,
        path: str,
        document: Any = None,
        *,
        holds: str | None = None,
        wait_seconds: float = 0,
    ) -> Any:
        """Return the answer to a POST of a JSON document; parameters and errors are those of `get`."""
        return self._call("POST", path, document=document, holds=holds, wait_seconds=wait_seconds)

    def readiness(self) -> Mapping[str, Any]:
        """Return what the gateway says of itself, ready or not."""
        answer = self._answer(lambda: self._client.get("/readyz"))
        found = _document(answer)
        if not isinstance(found, dict) or "prefect" not in found:
            raise self._no_gateway(answer)
        return found

    def deliver(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Send a webhook's delivery, with its own headers alone, and return the answer, whatever it is.

        Raises
        ------
        GatewayError: no answer.
        """
        return self._answer(
            lambda: httpx.post(
                f"{self.url}{path}",
                content=body,
                headers=dict(headers),
                timeout=TIMEOUT_SECONDS,
                trust_env=not self._is_here,
            )
        )

    def pages(self, path: str, key: str, params: Mapping[str, Any], limit: int) -> Iterator[dict[str, Any]]:
        """Yield at most `limit` items of a listing, page after page.

        Parameters
        ----------
        key: where the items lie in each page; `next` beside it is the cursor of the next one.
        """
        cursor: str | None = None
        while limit > 0:
            page = self.get(path, {**params, "limit": min(limit, 100), "cursor": cursor}, holds=key)
            yield from page[key][:limit]
            limit -= len(page[key])
            cursor = page.get("next")
            if not cursor:
                return

    def _check_instance(self, instance: str) -> None:
        """Make sure that the gateway is that of the system in this folder, and not a neighbour's.

        Raises
        ------
        GatewayError: it is not, or it does not answer.
        """
        answer = self._answer(lambda: self._client.get("/healthz"))
        document = _document(answer)
        if isinstance(document, dict) and document.get("instance") == instance:
            return
        folder = self._system.settings.data
        if isinstance(document, dict) and "instance" in document:
            raise GatewayError(
                f"At {self._shown} answers the gateway of another system, where that of {folder} should be."
                " Start `hookline up` here again, or set HOOKLINE_URL to the gateway that you mean."
            )
        raise self._no_gateway(answer)

    def _call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, holds: str | None,
        wait_seconds: float, document: Any = None,
    ) -> Any:  # fmt: skip
        given = {name: value for name, value in (params or {}).items() if value is not None}
        answer = self._answer(
            lambda: self._client.request(
                method, path, params=given, json=document, timeout=self._timeout_seconds + wait_seconds
            )
        )
        found = _document(answer)
        if not isinstance(found, dict):
            raise self._no_gateway(answer)
        if not answer.is_success:
            raise GatewayError(_refusal(answer.status_code, found), answer.status_code)
        if holds is not None and holds not in found:
            raise self._no_gateway(answer)
        return found

    def _answer(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            return ask()
        except httpx.ConnectError:
            if self._system.instance is not None:
                log = self._system.settings.data / "logs" / "gateway.log"
                raise GatewayError(
                    f"This folder's gateway, {self._shown}, does not answer; it may be starting. See {log}."
                ) from None
            raise GatewayError(
                f"No gateway answers at {self._shown}. Start one with `hookline up`, or set HOOKLINE_URL to"
                " the address of yours."
            ) from None
        except httpx.TimeoutException:
            raise GatewayError(f"The gateway at {self._shown} does not answer in time.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as failed:
            raise GatewayError(f"The gateway at {self._shown} broke off: {type(failed).__name__}.") from None

    def _no_gateway(self, answer: httpx.Response) -> GatewayError:
        kind = answer.headers.get("content-type", "").partition(";")[0] or "nothing"
        return GatewayError(
            f"What answers at {self._shown} is no Hookline gateway, or a proxy before it (HTTP"
            f" {answer.status_code}, {kind}). Set HOOKLINE_URL to the address of yours.",
            answer.status_code,
        )


def host_of(url: str) -> str | None:
    """Return the host of an address, or None where it is none that HTTP is spoken to."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        spoken = parts.scheme in ("http", "https") and not any(each.isspace() for each in url)
        return parts.hostname if spoken and httpx.URL(url).host else None
    except (ValueError, httpx.InvalidURL):
        return None


def _document(answer: httpx.Response) -> Any:
    """Return an answer's JSON, or None where it has none."""
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None


def _refusal(status: int, problem: Mapping[str, Any]) -> str:
    detail = problem.get("detail") or problem.get("title") or "no reason given"
    if status == 401:
        return f"The gateway wants an API key (401): {detail} Set HOOKLINE_API_KEY."
    return f"The gateway refused ({status}): {detail}"
