"""Fetching a file over HTTP."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from hookline.addresses import is_public, pinned
from hookline.current_run import current_run
from hookline.retrying import is_transient, retry_after_seconds
from tasks.files import read_local
from tasks.resources import Fetched, Resource
from tasks.settings import TaskSettings, task_settings

#: A server that asks for a longer wait than this is not waited for.
LONGEST_WAIT_SECONDS = 300.0

TIMEOUT = httpx.Timeout(30, connect=10)


class FetchRefused(Exception):
    """The file cannot be had, and trying again would not help."""


class FetchInterrupted(Exception):
    """The file could not be had this time; another attempt may succeed."""


def was_interrupted(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect to retry only what is transient."""
    return isinstance(state.data, FetchInterrupted)


@task(
    name="fetch",
    retries=4,
    retry_delay_seconds=exponential_backoff(backoff_factor=1),
    retry_jitter_factor=0.5,
    retry_condition_fn=was_interrupted,
    cache_policy=NO_CACHE,
)
def fetch(resource: Resource, folder: Path) -> Fetched:
    """Fetch a file, streamed to disk, and check it.

    Parameters
    ----------
    resource: the file; an http(s) address, or a file address below one of `TASKS_FOLDERS`.
    folder: where to put it; made if it is not there.

    Raises
    ------
    FetchInterrupted: connection, timeout, truncated body, 408, 429 or 5xx. Prefect tries again.
    FetchRefused: any other status, an address that must not be fetched, too large, or a wrong checksum.
    """
    settings = task_settings()
    fetched_at = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{resource.table}.{resource.format}"
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as file:
        for chunk in _chunks(resource, settings):
            size += len(chunk)
            if size > settings.fetch_limit_bytes:
                raise FetchRefused(
                    f"{resource.name} is larger than {settings.fetch_limit_bytes} bytes; "
                    "TASKS_FETCH_LIMIT_BYTES sets the limit."
                )
            digest.update(chunk)
            file.write(chunk)
    if resource.sha256 and digest.hexdigest() != resource.sha256.lower():
        raise FetchRefused(
            f"{resource.name} has another checksum than the event says: got sha256 {digest.hexdigest()}, "
            f"expected {resource.sha256.lower()} ({size} bytes fetched)."
        )
    return Fetched(str(target), resource.name, size, digest.hexdigest(), fetched_at)


def _chunks(resource: Resource, settings: TaskSettings) -> Iterator[bytes]:
    if resource.url.lower().startswith("file:"):
        yield from read_local(resource.url, settings.file_folders)
        return
    deadline = time.monotonic() + settings.fetch_limit_seconds
    try:
        with _client(settings) as client, client.stream("GET", resource.url) as answer:
            _raise_for_status(answer, resource.name)
            for chunk in answer.iter_bytes(1 << 20):
                # A server that trickles would keep each single read within its timeout for ever.
                if time.monotonic() > deadline:
                    raise FetchInterrupted(
                        f"{resource.name} took longer than {settings.fetch_limit_seconds:g} s; "
                        "TASKS_FETCH_LIMIT_SECONDS sets the limit."
                    )
                yield chunk
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as wrong:
        raise FetchRefused(f"{resource.name}: {wrong}") from None
    except httpx.TransportError as wrong:
        raise FetchInterrupted(f"{resource.name}: {type(wrong).__name__}: {wrong}") from None


def _raise_for_status(answer: httpx.Response, name: str) -> None:
    if answer.is_success:
        return
    if not is_transient(answer.status_code):
        raise FetchRefused(f"{name} answered HTTP {answer.status_code}.")
    wait = retry_after_seconds(answer.headers.get("Retry-After")) or 0.0
    if wait > LONGEST_WAIT_SECONDS:
        raise FetchRefused(f"{name} answered HTTP {answer.status_code} and asks to wait {wait:g} s.")
    # Prefect's delays are fixed beforehand, so the wait that the server asks for is spent here.
    time.sleep(wait)
    raise FetchInterrupted(f"{name} answered HTTP {answer.status_code}.")


def _client(settings: TaskSettings) -> httpx.Client:
    run = current_run()
    headers = {"Accept-Encoding": "identity"}  # the checksum is about the file's own bytes
    if run is not None:
        headers |= run.trace.headers()
    return httpx.Client(
        transport=_Guarded(settings.hosts), follow_redirects=True, timeout=TIMEOUT, headers=headers
    )


class _Guarded(httpx.BaseTransport):
    """Connects to public addresses, and inside only to the hosts that are allowed; redirects included.

    A name is looked up once, and the connection goes to the address that was checked.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        # No connection is used twice: it was opened, and its certificate checked, for one name.
        self._inner = httpx.HTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port
        if not any(_is_named(host, port, entry) for entry in self._allowed):
            addresses = _addresses(host)
            if not all(map(is_public, addresses)):
                raise FetchRefused(
                    f"{host} is not a public address; name it in TASKS_HOSTS if files may be fetched from it."
                )
            request = pinned(request, addresses[0])
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def _is_named(host: str, port: int | None, entry: str) -> bool:
    """Return whether an entry of the allow-list (`name`, `*.name`, `name:port`) means this host."""
    name, _, wanted_port = entry.lower().partition(":")
    if wanted_port and wanted_port != str(port):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as wrong:
        raise httpx.ConnectError(f"{host} cannot be resolved: {wrong}") from None
    return [str(entry[4][0]) for entry in found]
