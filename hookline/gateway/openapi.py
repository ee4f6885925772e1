"""`/openapi.json`: the API described by its own table of routes, and `/docs`, the same as a page."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hookline.gateway import access
from hookline.gateway.descriptions import READ_DOCS, READ_OPENAPI
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.operations import Answered, Operation, Parameter, Route, Shape
from hookline.gateway.pages.assets import address
from hookline.gateway.pages.rendering import page_reply
from hookline.gateway.replies import JSON, PROBLEM
from hookline.gateway.schemas import HEADERS, SCHEMAS, ref
from hookline.sources import Reply

#: Problems that any operation may answer with: before it is known which one was meant, or because the
#: gateway cannot just now.
_ALWAYS = (400, 408, 431, 500, 503)
_WITH_KEY = (401, 403, 421)
_HEADERS_OF_REFUSALS = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",)}

_INTRODUCTION = """\
The event front door for self-hosted Prefect. Send an event, get a tracking id, see what became of it.

Every error is a problem document (RFC 9457), `application/problem+json`; its `reason` is a stable word.
Senders are never redirected. Times are RFC 3339 with an offset. A key goes into `Authorization: Bearer`, or
into the query as `access_token` for senders that can do no other; without keys, on the loopback, none is
asked for."""

Described = tuple[str, str, Operation]


def with_description(doors: Iterable[Described], routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return routes with those that describe all of them, and themselves.

    Parameters
    ----------
    doors: what is answered without a route.
    routes: the routes.
    """
    described: list[Described] = list(doors)

    @functools.cache
    def document(*, keyless: bool) -> bytes:
        return orjson.dumps(describe(described, keyless=keyless))

    @functools.cache
    def page(*, keyless: bool) -> str:
        return render_page(describe(described, keyless=keyless))

    async def read_openapi(house: House, exchange: Exchange) -> Reply:
        exchange.caller(house).require(access.Scope.READ)
        return Reply(200, (JSON,), document(keyless=not house.access.callers))

    async def read_docs(house: House, exchange: Exchange) -> Reply:
        exchange.caller(house).require(access.Scope.READ)
        return page_reply(page(keyless=not house.access.callers))

    all_routes = (
        *routes,
        Route("GET", "/openapi.json", read_openapi, READ_OPENAPI),
        Route("GET", "/docs", read_docs, READ_DOCS),
    )
    described += [(each.method, each.path, each.operation) for each in all_routes if each.operation]
    return all_routes


def describe(operations: Iterable[Described], *, keyless: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of operations. Pure.

    Parameters
    ----------
    operations: method, path and description of each.
    keyless: no API keys are set, and none is asked for.
    """
    paths: dict[str, dict[str, Any]] = {}
    for method, path, operation in operations:
        shown = path.replace("*}", "}")
        names = {part.strip("{}") for part in shown.split("/") if part.startswith("{")}
        paths.setdefault(shown, {})[method.lower()] = _operation(operation, names, method, shown, keyless)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hookline",
            "version": version("hookline"),
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "headers": HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "access_token": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "access_token",
                    "description": "An API key, for senders that cannot set headers.",
                },
            },
        },
    }


def _operation(
    operation: Operation, names: set[str], method: str, path: str, keyless: bool
) -> dict[str, Any]:
    described: dict[str, Any] = {
        # An operation that stands at several addresses has a name at each.
        "operationId": operation.name + _suffix(operation, method, path),
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": _security(operation, keyless),
        "responses": _answers(operation),
    }
    if operation.says:
        described["description"] = operation.says
    parameters = [
        _parameter(each) for each in operation.parameters if each.place != "path" or each.name in names
    ]
    known = {each.name for each in operation.parameters if each.place == "path"}
    parameters += [
        _parameter(Parameter(n, "", {"type": "string"}, "path", True)) for n in sorted(names - known)
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.bodies:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {kind: {"schema": _shape(shape)} for kind, shape in operation.bodies.items()},
        }
    return described


def _suffix(operation: Operation, method: str, path: str) -> str:
    if operation.tag != "Webhooks":
        return ""
    return ("WithToken" if "{token}" in path else "") + ("" if method == "POST" else f"By{method.title()}")


def _security(operation: Operation, keyless: bool) -> list[dict[str, list[str]]]:
    if operation.scope is None:
        return []
    needed: list[dict[str, list[str]]] = [{"bearer": []}, {"access_token": []}]
    return [*needed, {}] if keyless else needed


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "schema": _shape(parameter.schema),
    }
    if parameter.says:
        described["description"] = parameter.says
    return described


def _shape(shape: Shape) -> dict[str, Any]:
    return ref(shape) if isinstance(shape, str) else dict(shape)


def _answers(operation: Operation) -> dict[str, Any]:
    answers = {str(status): _answer(answered) for status, answered in operation.answers.items()}
    refusals = {*_ALWAYS, *operation.refusals, *(_WITH_KEY if operation.scope is not None else ())}
    for status in sorted(refusals):
        refused = _refusal(status)
        there = answers.get(str(status))
        if there is None:
            answers[str(status)] = refused
        else:
            there["content"] |= refused["content"]
    return dict(sorted(answers.items()))


def _answer(answered: Answered) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answered.says}
    if answered.schema is not None:
        kinds = (answered.media_type, *answered.also)
        described["content"] = {kind: {"schema": _shape(answered.schema)} for kind in kinds}
    if answered.headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answered.headers}
    return described


def _refusal(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM[1]: {"schema": ref("Problem")}},
    }
    headers = _HEADERS_OF_REFUSALS.get(status, ())
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return described


# The page ---------------------------------------------------------------------------------------------


def render_page(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as a page that needs nothing from elsewhere."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            shown = {"method": method.upper(), "path": path, **operation}
            groups.setdefault(operation["tags"][0], []).append(shown)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["schema"] = _written
    return environment.get_template("docs.html").render(
        document=document, groups=groups, stylesheet=address("hookline.css"), icon=address("icon.svg")
    )


def _written(schema: dict[str, Any]) -> str:
    """Return a schema as JSON that people can read."""
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
