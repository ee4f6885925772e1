"""Middleware of Prefect's server that has nothing to do is passed by; where it has, it does it."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request, Response
from fastapi.dependencies import utils as dependencies
from prefect.server.api.middleware import CsrfMiddleware
from prefect.settings import PREFECT_SERVER_CSRF_PROTECTION_ENABLED, temporary_settings
from starlette.middleware.base import BaseHTTPMiddleware

from hookline.prefect_server import requests

Next = Callable[[Request], Awaitable[Response]]


def where() -> int:
    return threading.get_ident()


def where_at_once() -> int:
    return threading.get_ident()


def an_app(went_through: list[str]) -> FastAPI:
    """Return an application with middleware as Prefect's server has it, and one of another kind."""
    app = FastAPI()

    @app.middleware("http")
    async def default_content_type(request: Request, call_next: Next) -> Response:
        went_through.append("type")
        return await call_next(request)

    @app.middleware("http")
    async def another(request: Request, call_next: Next) -> Response:
        went_through.append("another")
        return await call_next(request)

    app.add_middleware(CsrfMiddleware)

    @app.post("/")
    @app.get("/")
    async def threads(one: int = Depends(where), two: int = Depends(where_at_once)) -> list[bool]:
        return [one == threading.get_ident(), two == threading.get_ident()]

    return app


@pytest.fixture(autouse=True)
def everything_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHTTPMiddleware, "__call__", BaseHTTPMiddleware.__call__)
    module: Any = dependencies
    monkeypatch.setattr(module, "run_in_threadpool", module.run_in_threadpool)
    monkeypatch.setattr(requests, "_INSTANT", {where_at_once})


async def ask(went_through: list[str], method: str, **more: Any) -> httpx.Response:
    transport = httpx.ASGITransport(an_app(went_through))
    async with httpx.AsyncClient(transport=transport, base_url="http://prefect") as client:
        return await client.request(method, "/", **more)


@pytest.mark.parametrize(
    ("method", "more", "through"),
    [
        ("GET", {}, ["another"]),
        ("POST", {"json": {}}, ["another"]),
        ("POST", {"content": b"{}"}, ["another", "type"]),
    ],
)
async def test_a_request_goes_through_what_has_work(
    method: str, more: dict[str, Any], through: list[str]
) -> None:
    """One without a type gets it from the middleware; other middleware sees every request."""
    requests.pass_by()
    went_through: list[str] = []
    answer = await ask(went_through, method, **more)
    assert (answer.status_code, went_through) == (200, through)


async def test_who_protects_against_forgery_is_protected() -> None:
    """The setting is read as the server starts."""
    with temporary_settings({PREFECT_SERVER_CSRF_PROTECTION_ENABLED: True}):
        requests.pass_by()
        assert (await ask([], "POST", json={})).status_code == 403


async def test_only_what_returns_at_once_is_called_in_the_event_loop() -> None:
    requests.pass_by()
    assert (await ask([], "GET")).json() == [False, True]
