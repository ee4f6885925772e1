"""A fuzz run over the served OpenAPI document: no 5xx, and no answer that the document does not describe.

HOOKLINE_FUZZ_EXAMPLES sets the number of examples for each operation; `scripts/bench fuzz` runs many.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as of_openapi

from hookline.gateway.openapi import describe
from hookline.gateway.routes import DOORS, ROUTES
from tests.support.gateway import running_gateway

EXAMPLES = int(os.environ.get("HOOKLINE_FUZZ_EXAMPLES", "8"))
SOURCES = """
sources:
  github: {recipe: github, secrets: ["${SECRET}"]}
  dropbox: {recipe: dropbox, secrets: ["${SECRET}"]}
"""
CHECKS = (
    checks.not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_headers_conformance,
    of_openapi.response_schema_conformance,
)


@pytest.fixture(scope="module")
def gateway_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a gateway in a thread of its own: the fuzzer is not asynchronous."""
    started, stop = threading.Event(), asyncio.Event()
    found: list[str] = []

    async def serve(folder: Path) -> None:
        async with running_gateway(folder, sources=SOURCES, environ={"SECRET": "a secret"}) as gateway:
            for number in range(3):
                event = {"type": "fuzz.seed", "id": f"seed-{number}", "data": number}
                await gateway.http.post("/events", json=event)
            found.append(gateway.url)
            started.set()
            await stop.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(serve(tmp_path_factory.mktemp("gateway")),)
    )
    thread.start()
    try:
        assert started.wait(30), "the gateway did not start"
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


DOCUMENT = describe(
    [*DOORS, *((each.method, each.path, each.operation) for each in ROUTES if each.operation)], keyless=True
)
OPERATIONS = {
    each.ok().label: each.ok() for each in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
}


def test_the_served_document_is_the_one_that_is_fuzzed(gateway_url: str) -> None:
    """What is generated from it here holds for what a gateway serves."""
    assert httpx.get(f"{gateway_url}/openapi.json", timeout=20).json() == DOCUMENT


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does not fit"]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_answers_as_it_is_described(
    gateway_url: str, name: str, mode: GenerationMode
) -> None:
    """Requests that fit the document and requests that do not: each answer is one that it describes."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def fuzz(case: schemathesis.Case) -> None:
        if "wait" in (case.query or {}):
            case.query["wait"] = 0  # nothing here is worth waiting for
        case.call_and_validate(base_url=gateway_url, checks=list(CHECKS), timeout=20)

    try:
        fuzz()
    except Unsatisfiable:
        # Where everything fits there is nothing that does not.
        assert mode is GenerationMode.NEGATIVE
