"""Requests to Prefect's server under `up`: middleware that does nothing is passed by.

Starlette runs such middleware in a task of its own, with a stream for the answer between the two, and a
dependency that is no coroutine in a thread. For a request that comes with its type, to a server without
CSRF protection, Prefect's two middlewares hand it on; and the dependencies below only make an object.
"""

from __future__ import annotations

from typing import Any

from fastapi.dependencies import utils as dependencies
from prefect.server.api.dependencies import (
    get_created_by,
    get_prefect_client_version,
    provide_request_api_version,
)
from prefect.server.api.middleware import CsrfMiddleware
from prefect.server.api.workers import WorkerLookups
from prefect.server.database.dependencies import provide_database_interface
from prefect.settings import PREFECT_SERVER_CSRF_PROTECTION_ENABLED
from starlette.middleware.base import BaseHTTPMiddleware

_INSTANT = {
    provide_database_interface,
    provide_request_api_version,
    get_prefect_client_version,
    get_created_by,
    WorkerLookups,
}


def pass_by() -> None:
    """Pass by what does nothing."""
    _pass_middleware_by()
    _call_at_once()


def _pass_middleware_by() -> None:
    base: Any = BaseHTTPMiddleware
    stock = base.__call__
    checks_csrf = bool(PREFECT_SERVER_CSRF_PROTECTION_ENABLED.value())

    def has_work(middleware: Any, scope: Any) -> bool:
        if isinstance(middleware, CsrfMiddleware):
            return checks_csrf
        if getattr(middleware.dispatch_func, "__name__", "") == "default_content_type":
            return scope["method"] != "GET" and all(name != b"content-type" for name, _ in scope["headers"])
        return True

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        """Hand a request on, through the middleware where that has something to do."""
        if scope["type"] == "http" and not has_work(self, scope):
            await self.app(scope, receive, send)
        else:
            await stock(self, scope, receive, send)

    base.__call__ = call


def _call_at_once() -> None:
    module: Any = dependencies
    stock = module.run_in_threadpool

    async def run(function: Any, *args: Any, **options: Any) -> Any:
        """Run a function in a thread, but one that returns at once."""
        if function in _INSTANT:
            return function(*args, **options)
        return await stock(function, *args, **options)

    module.run_in_threadpool = run
