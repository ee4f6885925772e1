"""The API does what its description says: values of a query, methods, forms, replays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema_rs
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from hookline.event import now
from hookline.gateway.schemas import SCHEMAS
from hookline.inbox import NewDispatch, Routing
from hookline.triggers import Trigger
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.inboxes import LEASE

TRIGGER = Trigger(flow="record-push", deployment="on-push", name="push-to-main", expect=("shop.sent",))
SOURCES = """
sources:
  github: {recipe: github, secrets: ["${SECRET}"]}
  dropbox: {recipe: dropbox, secrets: ["${SECRET}"]}
"""


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    async with running_gateway(
        folder, sources=SOURCES, environ={"SECRET": "s3cret"}, triggers=[TRIGGER]
    ) as gateway:
        yield gateway


async def send(gateway: RunningGateway) -> str:
    """Send an event that nothing expects; return its id."""
    return str((await gateway.http.post("/events", json={"type": "shop.ignored"})).json()["id"])


# Values of a query ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "/events?cursor=",
        "/events?since=",
        "/events?until=",
        "/events?limit=",
        "/events?limit=007",
        "/events?status=",
        "/events?until=2026-11-24",
        "/events?until=2026-W48-2T03:00:00Z",
        "/events?since=0001-01-01T00:00:00%2B23:59",
        "/events?cursor=" + "M" * 47 + "!",
        "/dead?cursor=",
        "/dead?trigger=",
        "/dead?trigger=" + "x" * 1025,
        "/rejections?limit=1.0",
        "/lineage/event/1?depth=",
        "/lineage/event/1?tasks=",
        "/lineage/event/1?direction=",
        "/lineage/event/1?nodes=05",
        "/events/1?wait=61.0",
        "/events/1?wait=60.0001",
        "/events/1?wait=1_0",
        "/events/1?wait=%D9%A1",
        "/events/1?wait=inf",
        "/events/1?wait=",
    ],
)
async def test_a_value_that_the_description_does_not_allow_is_refused(
    gateway: RunningGateway, query: str
) -> None:
    """400, naming the parameter."""
    answer = await gateway.http.get(query)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(query.partition("?")[2].partition("=")[0])


@pytest.mark.parametrize("wait", ["0", "0.0", "1e-2", "1E-2", "0.000001"])
async def test_a_number_of_json_is_a_wait(gateway: RunningGateway, wait: str) -> None:
    """As the description says: a number."""
    answer = await gateway.http.get(f"/events/{await send(gateway)}?wait={wait}")
    assert answer.status_code == 200


async def test_wishes_are_as_long_as_described(gateway: RunningGateway) -> None:
    """1,024 characters, like the attributes that they are compared with."""
    for length, status in ((1024, 200), (1025, 400)):
        answer = await gateway.http.post("/replays", json={"type": "x" * length, "dry_run": True})
        assert answer.status_code == status
    operation = (await gateway.http.get("/openapi.json")).json()["paths"]["/replays"]["post"]
    members = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {members[name]["maxLength"] for name in ("type", "source", "subject", "trigger")} == {1024}


@pytest.mark.parametrize(
    ("members", "fits"),
    [({"data": 1}, True), ({"data_base64": "MQ=="}, True), ({"data": 1, "data_base64": "MQ=="}, False)],
)
async def test_data_and_data_base64_exclude_each_other(
    gateway: RunningGateway, members: dict[str, object], fits: bool
) -> None:
    """For the schema and for the gateway."""
    event = {"specversion": "1.0", "id": "1", "source": f"/{len(str(members))}", "type": "a.b", **members}
    answer = await gateway.http.post(
        "/events", json=event, headers={"content-type": "application/cloudevents+json"}
    )
    assert answer.status_code == (202 if fits else 400)
    schema = {"components": {"schemas": SCHEMAS}, "$ref": "#/components/schemas/CloudEvent"}
    assert jsonschema_rs.is_valid(schema, event) is fits


@pytest.mark.parametrize("name", ["traceparent", "tracestate"])
@pytest.mark.parametrize(("value", "fits"), [("\xe9", True), ("a\tb", True), ("a\x01b", False)])
async def test_a_trace_header_may_hold_what_headers_may(
    gateway: RunningGateway, name: str, value: str, fits: bool
) -> None:
    """An invalid one is ignored, as described; what no header may hold is not."""
    headers = {name.encode(): value.encode("latin-1")}
    answer = await gateway.http.post("/events", json={"type": "shop.ignored"}, headers=headers)
    assert answer.status_code == (202 if fits else 400)
    operation = (await gateway.http.get("/openapi.json")).json()["paths"]["/events"]["post"]
    [described] = [each["schema"] for each in operation["parameters"] if each["name"] == name]
    assert jsonschema_rs.is_valid(described, value) is fits


# Methods ----------------------------------------------------------------------------------------------


async def test_allow_names_what_works(gateway: RunningGateway) -> None:
    """`/events` takes GET whoever asks; a source takes it where its provider's handshake is one."""
    ask = {"WebHook-Request-Origin": "events.example.com"}
    for headers in ({}, ask):
        answer = await gateway.http.options("/events", headers=headers)
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    for source, allowed in (("github", "POST"), ("dropbox", "GET, HEAD, POST")):
        for method in ("OPTIONS", "PUT", "DELETE"):
            answer = await gateway.http.request(method, f"/webhooks/{source}")
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    for method in ("GET", "HEAD"):
        answer = await gateway.http.request(method, "/webhooks/dropbox?challenge=1")
        assert answer.status_code == 200


# Bodies -----------------------------------------------------------------------------------------------


async def test_a_body_is_described_as_octets_of_any_type(gateway: RunningGateway) -> None:
    """A client that is made from the description reads neither a text nor an object into it."""
    document = (await gateway.http.get("/openapi.json")).json()
    described = document["paths"]["/events/{id}/body"]["get"]["responses"]["200"]["content"]
    assert described == {"*/*": {"schema": {}}}


async def test_metrics_come_in_the_form_that_is_asked_for(gateway: RunningGateway) -> None:
    """Each says what it is, and can be read as that."""
    plain = await gateway.http.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "hookline_events_accepted" in {each.name for each in read_prometheus(plain.text)}
    wanted = "application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5"
    modern = await gateway.http.get("/metrics", headers={"Accept": wanted})
    assert modern.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert modern.headers["vary"] == "accept"
    assert modern.text.endswith("# EOF\n")
    assert "hookline_events_accepted" in {each.name for each in read_openmetrics(modern.text)}


# Replays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("record-push/on-push/push-to-man", "; did you mean record-push/on-push/push-to-main?"),
        ("push-to-main", "; did you mean record-push/on-push/push-to-main?"),
        ("push_to_main", "; did you mean record-push/on-push/push-to-main?"),
        ("quite/another/one", " is in force."),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_trigger_that_does_not_exist_is_404(
    gateway: RunningGateway, given: str, told: str, dry_run: bool
) -> None:
    """Wherever a replay is narrowed to one; the nearest is named."""
    for path in (f"/events/{await send(gateway)}/replay", "/replays", "/dead/replay"):
        answer = await gateway.http.post(path, json={"trigger": given, "dry_run": dry_run})
        assert (answer.status_code, answer.json()["reason"]) == (404, "no-such-trigger")
        assert answer.json()["detail"].endswith(told)


async def test_a_dead_letter_whose_trigger_is_gone_is_404(gateway: RunningGateway) -> None:
    """Its replay would start nothing."""
    inbox, event_id = gateway.house.inbox, await send(gateway)
    version, _ = await inbox.trigger_set()
    new = NewDispatch(trigger_id="record-push/on-push/gone", lane="record-push/on-push", dead="no")
    await inbox.route([Routing(event_id, version, (new,), replay=True)], at=now(), lease=LEASE)
    [dead] = await inbox.dispatches(event_id)
    for wishes in ({}, {"dry_run": True}):
        answer = await gateway.http.post(f"/dead/{dead.id}/replay", json=wishes)
        assert (answer.status_code, answer.json()["reason"]) == (404, "no-such-trigger")
