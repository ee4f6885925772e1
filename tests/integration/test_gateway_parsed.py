"""Whatever is parsed of a request holds what nobody would write: never a 5xx, never a broken connection.

Cookies, cursors, tokens, numbers, times, ids, addresses, and the headers that anything looks at, over a real
socket, on a gateway with keys that believes the proxy in front of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookline.claim_tokens import claim_token
from hookline.event import new_id, now
from hookline.gateway.events import write_cursor
from tests.support.gateway import KEY, RunningGateway, running_gateway
from tests.support.wire import request, statuses
from tests.unit.sources.test_hostile import all_sources

#: `scripts/bench fuzz` makes many more.
EXAMPLES = int(os.environ.get("HOOKLINE_FUZZ_EXAMPLES", "8")) * 20
ID = new_id()
TRACE = b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

#: Method, target, headers and body; `%PREFIX` and `%CLAIM` stand for what only the gateway knows.
Made = tuple[str, str, list[tuple[str, bytes]], bytes]


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway with keys, pages and a source of every recipe."""
    async with running_gateway(
        tmp_path_factory.mktemp("gateway"), keys=[KEY], sources=all_sources(), trusted_proxies=("127.0.0.1",)
    ) as running:
        yield running


@pytest.fixture(scope="module")
async def prefix(gateway: RunningGateway) -> bytes:
    """Give what the names of this gateway's cookies begin with."""
    answer = await gateway.http.get("/login", headers={"Accept": "text/html"})
    return str(answer.headers["set-cookie"]).partition("visit=")[0].encode()


@pytest.fixture(scope="module")
def errors() -> Iterator[list[str]]:
    """Give what is logged as an error, as it comes."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign] # a probe
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


# What is written --------------------------------------------------------------------------------------

#: Numbers, times, ids and addresses that are none, or that some library takes for one.
ODD = [
    b"9" * 5_000, b"-" + b"9" * 5_000, b"1" * 309, b"0" * 400, b"1e400", b"1e-400", b"-0", b"+1", b"0x10",
    b"1_0", b" 1", b"1 ", b"1.", b".5", b"nan", b"-nan", b"inf", b"Infinity", b"-Infinity", b"1e", b"",
    "١٢٣".encode(), "１２３".encode(), "²".encode(), b"\xb2", b"\xb9\xb2\xb3", b"\xff\xfe", b"\xed\xa0\x80",
    b"%00", b"%", b"%%", b"%zz", b"%ED%A0%80", b"%ff%fe", b"%C0%80", b"%u0041", b"%25%30%30", b"+", b"a=b",
    b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:60-23:59", b"2026-02-30T00:00:00Z",
    b"2026-11-24T03:00:00." + b"9" * 3_000 + b"Z", b"2026-W48-2T03:00:00Z", b"2026-11-24T24:00:00Z",
    b"00000000-0000-0000-0000-000000000000", b"ffffffff-ffff-ffff-ffff-ffffffffffff", ID.encode(),
    ID.upper().encode(), ID.encode() + b"\xa0", b"../../etc/passwd", b"[", b"[::1", b"::1%25eth0", b"]:99",
    b"::ffff:127.0.0.1", b"1.2.3.4, 5.6.7.8,", b",,,", b";;;", b"=;=;q=", b'"', b'"\\', b"*" * 2_000,
    b"\xc2\xa0", "\u202e\u200b\u2028".encode(), "\U0001f600".encode(), b"(", b"%s%n{0}{}", b"' OR 1=1 --",
    write_cursor("z" * 36).encode(), write_cursor(ID).encode(), b"=" * 48, b"_" * 48, b"A" * 47,
]  # fmt: skip
HEADERS = (
    "Cookie", "Accept", "Accept-Encoding", "Accept-Language", "Range", "If-Range", "If-None-Match",
    "If-Match", "If-Modified-Since", "If-Unmodified-Since", "Authorization", "traceparent", "tracestate",
    "Last-Event-ID", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Origin",
    "Sec-Fetch-Site", "Prefer", "Hookline-Part", "Idempotency-Key", "Content-Type", "Content-Encoding",
    "Expect", "TE", "WebHook-Request-Origin", "WebHook-Request-Rate", "ce-subject", "ce-time", "Referer",
)  # fmt: skip
#: What a value stands in, so that a parser gets further than its first look.
FRAMES = {
    "Cookie": [b"%PREFIXsession=%b", b"%PREFIXsession=%b.x.y", b"%PREFIXvisit=%b", b"%PREFIXsession=9.%b.%b"],
    "Accept": [b"text/html;q=%b", b"text/html, application/json;q=%b", b"application/openmetrics-text;q=%b"],
    "Range": [b"bytes=%b-%b"],
    "Authorization": [b"Bearer %b", b"Basic %b", b"Bearer %CLAIM%b", b"Bearer 1.%b.%b", b"bearer  %b"],
    "traceparent": [
        b"00-%b-00f067aa0ba902b7-01",
        b"01-%b-00f067aa0ba902b7-01",
        TRACE + b"%b",
    ],
    "tracestate": [b"a=%b", b"%b=1,b=2"],
    "X-Forwarded-For": [b"%b, 127.0.0.1"],
    "Prefer": [b"wait=%b"],
    "If-None-Match": [b'"%b"', b'W/"%b", *'],
    "ce-time": [b"2026-11-24T03:00:00.%bZ"],
}
PATHS = (
    "/", "/events", "/events/%b", "/events/%b/body", f"/events/{ID}", f"/events/{ID}/body", "/dead",
    "/rejections", "/lineage/event/%b", "/lineage/asset/%b", "/lineage/%b/x", "/replays", "/replays/%b",
    "/sources", "/find", "/lineage", "/login", "/metrics", "/readyz", "/healthz", "/docs", "/openapi.json",
    "/assets/%b", "/webhooks/%b", "/webhooks/twilio", "/webhooks/hubspot/%b", "/%b",
)  # fmt: skip
POSTS = (
    "/events", "/events/%b/replay", "/replays", "/replays/%b/cancel", "/dead/%b/replay", "/dead/replay",
    "/login", "/logout", "/actions/replay", "/actions/dead", "/actions/test", "/webhooks/twilio",
)  # fmt: skip
QUERIES = (
    "wait", "limit", "cursor", "since", "until", "status", "type", "source", "subject", "depth", "nodes",
    "tasks", "through_assets", "direction", "trigger", "before", "after", "within", "q", "kind", "id",
    "next", "replayed", "access_token", "begun", "%b",
)  # fmt: skip
ESCAPES = (
    "%00", "%", "%zz", "%ED%A0%80", "%ff", "..", "%2e%2e", "%2F", "%252F", "%u0041", "+", "%0d%0a", "~",
)  # fmt: skip
BODIES = [b"", b"{}", b'{"type": "a.b"}', b"a=b&token=x"]


def can_be_sent(value: bytes) -> bool:
    """Return whether a header can carry a value; what it cannot carry is a broken request."""
    return not any((byte < 32 and byte != 9) or byte == 127 for byte in value)


texts = st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass"))
odd = st.lists(st.sampled_from(ODD) | st.binary(max_size=24) | texts, min_size=1, max_size=3).map(b"".join)
values = odd.filter(can_be_sent)
escaped = odd.map(lambda value: quote(value, safe="")[:6_000]) | st.sampled_from(ESCAPES)


@st.composite
def requests(draw: st.DrawFn) -> Made:
    """Make a request of which some parts are odd."""
    method = draw(st.sampled_from(["GET", "GET", "GET", "POST", "OPTIONS", "HEAD"]))
    path = draw(st.sampled_from(POSTS if method == "POST" else PATHS)).replace("%b", draw(escaped))
    asked = draw(st.lists(st.sampled_from(QUERIES), max_size=2))
    query = "&".join(f"{name.replace('%b', draw(escaped))}={draw(escaped)}" for name in asked)
    headers = {}
    for name in draw(st.lists(st.sampled_from(HEADERS), max_size=3)):
        frame = draw(st.sampled_from([b"%b", *FRAMES.get(name, [])]))
        headers[name] = frame.replace(b"%b", draw(values))[:12_000]
    headers.setdefault("Authorization", draw(st.sampled_from([b"Bearer " + KEY.encode(), b"Bearer %CLAIM"])))
    headers.setdefault("Accept", draw(st.sampled_from([b"text/html", b"*/*"])))
    body = draw(st.sampled_from(BODIES) | odd) if method == "POST" else b""
    return method, f"{path}?{query}", list(headers.items()), body


def written(gateway: RunningGateway, made: Made, prefix: bytes) -> bytes:
    """Return a request as bytes, with the names and tokens that this gateway has."""
    method, target, headers, body = made
    token = claim_token(gateway.house.claim_secret, event_id=ID, dispatch_id=ID, at=now()).encode()
    filled = [
        (name, value.replace(b"%PREFIX", prefix).replace(b"%CLAIM", token).strip(b" \t"))
        for name, value in headers
    ]
    return request(method, target, filled, body)


WITH_KEY = [("Authorization", b"Bearer " + KEY.encode())]
LONG_COOKIE = [("Accept", b"text/html"), ("Cookie", b"%PREFIXsession=" + b"9" * 5_000 + b".x.y")]


@settings(max_examples=EXAMPLES, deadline=None)
@given(made=requests())
@example(made=("GET", "/", LONG_COOKIE, b""))
@example(made=("GET", "/events?since=0001-01-01T00:00:00%2B23:59", WITH_KEY, b""))
async def test_nothing_that_is_parsed_makes_a_5xx(
    gateway: RunningGateway, prefix: bytes, errors: list[str], made: Made
) -> None:
    """An answer below 500, and nothing in the log that calls for help."""
    (status,) = await statuses(gateway.port, [written(gateway, made, prefix)])
    assert 200 <= status < 500
    assert errors == []
