"""`/openapi.json`: valid OpenAPI 3.1, with every route of the API in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from hookline.gateway import access, pages, schemas
from hookline.gateway.openapi import describe, render_page
from hookline.gateway.routes import DOORS, ROUTES

OPERATIONS = [*DOORS, *((each.method, each.path, each.operation) for each in ROUTES if each.operation)]


@pytest.fixture(params=[True, False], ids=["keyless", "with keys"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Give the document that a gateway serves."""
    return describe(OPERATIONS, keyless=request.param)


def test_it_is_valid(document: dict[str, Any]) -> None:
    """By the validator of the OpenAPI initiative's own schema."""
    validate(document)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    """A route without a description fails here, and so does a description without a route."""
    assert [each.path for each in ROUTES if each.operation is None] == []
    routes = {(each.method, each.path) for each in ROUTES} | {(method, path) for method, path, _ in DOORS}
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(method, path.replace("*}", "}")) for method, path in routes}


def test_pages_lie_over_described_routes() -> None:
    """What the pages lay over the API is the API's."""
    api = {(each.method, each.path) for each in ROUTES}
    alone = pages.with_pages(())
    laid = {(m, p) for m, p, _ in pages.with_pages((each.method, each.path, each.answer) for each in ROUTES)}
    assert laid == api | {(method, path) for method, path, _ in alone}


def test_names_of_operations_and_parameters_of_paths(document: dict[str, Any]) -> None:
    """Generated clients need unique names, and each part of a path described."""
    names = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(names) == len(set(names))
    for path, methods in document["paths"].items():
        for operation in methods.values():
            given = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert given == set(re.findall(r"{(\w+)}", path))


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    """Whatever goes wrong, its media type and shape are known beforehand."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


def test_no_schema_is_left_over(document: dict[str, Any]) -> None:
    """Every named schema and header is used somewhere."""
    text = str(document)
    for kind, named in (("schemas", schemas.SCHEMAS), ("headers", schemas.HEADERS)):
        assert {name for name in named if f"#/components/{kind}/{name}'" not in text} == set()


def test_keys_are_asked_for_by_scope() -> None:
    """With keys each operation that has a scope names them; without keys none is needed."""
    for keyless in (True, False):
        served = describe(OPERATIONS, keyless=keyless)
        for method, path, operation in OPERATIONS:
            security = served["paths"][path.replace("*}", "}")][method.lower()]["security"]
            assert ({} in security) == (keyless and operation.scope is not None)
            assert bool(security) == (operation.scope in tuple(access.Scope))


def test_the_page_shows_every_operation_and_needs_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    """Server-rendered: no script, and no address of another host."""
    page = render_page(document)
    for _, path, operation in OPERATIONS:
        assert path.replace("*}", "}") in page
        assert operation.summary.replace("'", "&#39;") in page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', page) == []
