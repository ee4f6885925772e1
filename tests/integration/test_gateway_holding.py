"""Bodies that take long to read: nobody else waits for them, whatever is in their mebibyte."""

from __future__ import annotations

import base64
import gc
import gzip
import hashlib
import hmac
from collections.abc import AsyncIterator

import orjson
import pytest

from tests.integration.test_http_resources import LONGEST_HOLD_SECONDS, MIB
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.holding import longest_hold

SECRET = "a secret that only github has"
SOURCES = """
sources:
  github: {recipe: github, secrets: ["${SECRET}"]}
  twilio: {recipe: twilio, secrets: ["${SECRET}"]}
  grid: {recipe: azure-event-grid, tokens: ["${SECRET}"]}
"""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
CLOUDEVENT = b'{"specversion":"1.0","id":"1","source":"s","type":"a.b",'


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway whose collector leaves out what was loaded before, as it does by itself."""
    folder = tmp_path_factory.mktemp("gateway")
    async with running_gateway(folder, sources=SOURCES, environ={"SECRET": SECRET}) as running:
        gc.collect()
        gc.freeze()
        yield running
        gc.unfreeze()


def filled(
    unit: bytes, start: bytes = b'{"type":"a.b","data":[', end: bytes = b"]}", size: int = MIB
) -> bytes:
    return start + b",".join([unit] * ((size - len(start + end)) // (len(unit) + 1))) + end


def events(start: int, number: int) -> bytes:
    return orjson.dumps(
        [
            {"specversion": "1.0", "id": str(each), "source": "s", "type": "a.b"}
            for each in range(start, start + number)
        ]
    )


EVENTS = {
    "objects": (JSON, filled(b"{}"), 413),
    "arrays": (JSON, filled(b"[]"), 413),
    "objects in objects": (JSON, filled(b'{"a":{}}'), 413),
    "arrays as deep as they may be": (JSON, filled(b"[" * 60 + b"]" * 60), 413),
    "arrays that are deeper": (JSON, filled(b"[" * 65 + b"]" * 65), 400),
    "as many arrays as there may be": (JSON, filled(b"[1.25,2.5]"), 202),
    "numbers": (JSON, filled(b"1"), 202),
    "strings": (JSON, filled(b'"ab"'), 202),
    "brackets in strings": (JSON, filled(b'"[{"'), 202),
    "backslashes": (JSON, filled(b'"\\\\\\""'), 202),
    "members": (JSON, b"{%b}" % b",".join(b'"%d":1' % each for each in range(90_000)), 400),
    "what is no JSON": (JSON, b"[" * MIB, 400),
    "objects in gzip": (JSON, gzip.compress(filled(b"{}")), 413),
    "objects in base64": (
        STRUCTURED,
        CLOUDEVENT
        + b'"datacontenttype":"a/json","data_base64":"%b"}'
        % base64.b64encode(filled(b"[]", b"[", b"]", size=MIB // 4 * 3 - 300)),
        413,
    ),
    "a batch of small events": (BATCH, events(0, 8_000), 202),
    "a batch whose last event is none": (BATCH, events(20_000, 8_000)[:-1] + b",{}]", 400),
    "a batch of numbers": (BATCH, filled(b"1", b"[", b"]"), 400),
    "a batch of objects": (BATCH, filled(b"{}", b"[", b"]"), 413),
}


@pytest.mark.parametrize(("kind", "body", "status"), EVENTS.values(), ids=EVENTS.keys())
async def test_no_event_holds_the_loop(gateway: RunningGateway, kind: str, body: bytes, status: int) -> None:
    """Accepted, or refused with 400 or 413: others have their turn before 50 ms are over."""
    headers = {"content-type": kind} | ({"content-encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {})
    with longest_hold() as hold:
        answer = await gateway.http.post("/events", content=body, headers=headers)
    assert answer.status_code == status, answer.text[:200]
    assert hold.seconds < LONGEST_HOLD_SECONDS, hold.what


GRID = orjson.dumps(
    [
        {"id": str(each), "eventType": "a", "subject": "s", "eventTime": "2020-01-01T00:00:00Z", "data": {}}
        for each in range(3_000)
    ]
)
FIELDS = b"&".join([b"a="] * (MIB // 3))
DELIVERIES = {
    "objects": ("github", JSON, filled(b"{}", b"[", b"]"), 413),
    "fields": ("github", FORM, FIELDS, 413),
    "a form that is JSON": ("github", FORM, b"payload=%22" + b"%41" * (MIB // 3 - 10) + b"%22", 202),
    "percent signs": ("github", FORM, b"%" * MIB, 400),
    "fields before a signature is looked at": ("twilio", FORM, FIELDS, 413),
    "a batch": ("grid/a%20secret%20that%20only%20github%20has", JSON, GRID, 202),
}


@pytest.mark.parametrize(("door", "kind", "body", "status"), DELIVERIES.values(), ids=DELIVERIES.keys())
async def test_no_delivery_holds_the_loop(
    gateway: RunningGateway, door: str, kind: str, body: bytes, status: int
) -> None:
    """The same at the webhooks, for those whose signature is good and for strangers."""
    headers = {
        "content-type": kind,
        "x-github-event": "push",
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        "x-twilio-signature": "AAAA",
        "aeg-event-type": "Notification",
    }
    with longest_hold() as hold:
        answer = await gateway.http.post(f"/webhooks/{door}", content=body, headers=headers)
    assert answer.status_code == status, answer.text[:200]
    assert hold.seconds < LONGEST_HOLD_SECONDS, hold.what
