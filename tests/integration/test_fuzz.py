"""A fuzz run over the served OpenAPI document: no 5xx, and no answer that the document does not describe.

Requests that are made up see mostly refusals: ids that do not exist, and signatures that nobody guesses. So
there is a third kind, filled in with ids that exist and signed as a provider signs: each operation has to
succeed there.

HOOKLINE_FUZZ_EXAMPLES sets the number of examples for each operation; `scripts/bench fuzz` runs many.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as of_openapi

from hookline.event import now
from hookline.gateway.events import write_cursor
from hookline.gateway.openapi import describe
from hookline.gateway.routes import DOORS, ROUTES
from hookline.inbox import NewDispatch, Routing
from hookline.sources import Sources, sign
from hookline.triggers import Trigger
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.inboxes import LEASE

EXAMPLES = int(os.environ.get("HOOKLINE_FUZZ_EXAMPLES", "8"))
#: A source for each method, which its provider uses; and the same with a token in the address.
SOURCES_FOR = {"POST": "github", "GET": "dropbox", "OPTIONS": "cloudevents"}
SOURCES = "sources:\n" + "".join(
    f"""
  {name}: {{recipe: {name}, secrets: ["${{SECRET}}"]}}
  {name}-by-token: {{recipe: {name}, secrets: ["${{SECRET}}"], tokens: ["${{TOKEN}}"]}}"""
    for name in SOURCES_FOR.values()
)
ENVIRON = {"SECRET": "a secret of a test", "TOKEN": "a-token-of-a-test"}
TRIGGER = Trigger(flow="fuzz", deployment="seeds", name="grown", expect=("fuzz.seed",))
CHECKS = (
    checks.not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_headers_conformance,
    of_openapi.response_schema_conformance,
)


@dataclass(frozen=True)
class Seeds:
    """What there is in the gateway.

    Parameters
    ----------
    url: the gateway's.
    events, dead, replays: ids.
    sources: the sources, to sign for.
    """

    url: str
    events: list[str]
    dead: list[str]
    replays: list[str]
    sources: Sources


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeds]:
    """Give a gateway in a thread of its own: the fuzzer is not asynchronous."""
    started, stop = threading.Event(), asyncio.Event()
    found: list[Seeds] = []

    async def serve(folder: Path) -> None:
        async with running_gateway(folder, sources=SOURCES, environ=ENVIRON, triggers=[TRIGGER]) as gateway:
            found.append(await sow(gateway))
            started.set()
            await stop.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(serve(tmp_path_factory.mktemp("gateway")),)
    )
    thread.start()
    try:
        assert started.wait(60), "the gateway did not start"
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


async def sow(gateway: RunningGateway) -> Seeds:
    """Send events, let some of them die, and begin a replay."""
    inbox = gateway.house.inbox
    version, _ = await inbox.trigger_set()
    events = []
    for number in range(EXAMPLES + 2):
        event = {"type": "fuzz.sown", "id": f"seed-{number}", "data": number}
        events.append(str((await gateway.http.post("/events", json=event)).json()["id"]))
        new = NewDispatch(trigger_id=TRIGGER.id, lane="fuzz/seeds", dead="sown so")
        await inbox.route([Routing(events[-1], version, (new,), replay=True)], at=now(), lease=LEASE)
    begun = await gateway.http.post("/replays", json={"type": "fuzz.sown"})
    dead = [letter.id for letter in await inbox.dead(limit=100)]
    return Seeds(gateway.url, events, dead, [str(begun.json()["id"])], gateway.house.sources)


DOCUMENT = describe(
    [*DOORS, *((each.method, each.path, each.operation) for each in ROUTES if each.operation)], keyless=True
)
OPERATIONS = {
    each.ok().label: each.ok() for each in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
}


def test_the_served_document_is_the_one_that_is_fuzzed(seeds: Seeds) -> None:
    """What is generated from it here holds for what a gateway serves."""
    assert httpx.get(f"{seeds.url}/openapi.json", timeout=20).json() == DOCUMENT


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does not fit"]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_answers_as_it_is_described(seeds: Seeds, name: str, mode: GenerationMode) -> None:
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
        case.call_and_validate(base_url=seeds.url, checks=list(CHECKS), timeout=20)

    try:
        fuzz()
    except Unsatisfiable:
        # Where everything fits there is nothing that does not.
        assert mode is GenerationMode.NEGATIVE


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_succeeds_with_what_exists(seeds: Seeds, name: str) -> None:
    """Ids, cursors and triggers that there are, and signatures that are right: seen to answer 2xx."""
    statuses: list[int] = []
    known = {"events": cycle(seeds.events), "dead": cycle(seeds.dead), "replays": cycle(seeds.replays)}

    @settings(
        max_examples=max(EXAMPLES // 2, 3),
        deadline=None,
        database=None,
        # The same on every day: what is asserted is that some succeed.
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[name].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def fuzz(case: schemathesis.Case) -> None:
        fill_in(case, seeds, known)
        answer = case.call_and_validate(base_url=seeds.url, checks=list(CHECKS), timeout=20)
        statuses.append(answer.status_code)

    fuzz()
    assert any(200 <= status < 300 for status in statuses), statuses


def fill_in(case: schemathesis.Case, seeds: Seeds, known: dict[str, cycle[str]]) -> None:
    """Put what exists into the places where something made up would only meet a refusal."""
    kind = case.path.split("/")[1]
    if kind in known and "id" in case.path_parameters:
        case.path_parameters["id"] = next(known[kind])
    if kind == "lineage":
        case.path_parameters |= {"kind": "event", "id": seeds.events[0]}
    for name, value in (("wait", 0), ("cursor", write_cursor(seeds.events[-1])), ("trigger", TRIGGER.id)):
        if name in (case.query or {}):
            case.query[name] = value
    if isinstance(case.body, dict) and case.body.get("trigger") is not None and kind != "webhooks":
        case.body["trigger"] = TRIGGER.id
    if kind == "webhooks":
        knock(case, seeds)


def knock(case: schemathesis.Case, seeds: Seeds) -> None:
    """Make a request to a source one of its provider's."""
    by_token = "{token}" in case.path
    source = seeds.sources[SOURCES_FOR[case.method] + ("-by-token" if by_token else "")]
    case.path_parameters["source"] = source.name
    if by_token:
        case.path_parameters["token"] = ENVIRON["TOKEN"]
    if case.method == "GET":
        case.query = {"challenge": "is it you?"}
    elif case.method == "OPTIONS":
        case.headers["WebHook-Request-Origin"] = "events.example.com"
    else:
        case.body = orjson.dumps({"made": repr(case.body)})
        case.media_type = "application/json"
        case.headers.update(sign(source, case.body, now(), url=f"{seeds.url}{case.formatted_path}"))
