"""`hookline.send` against a real HTTP server; what it does inside a run is in `tests/integration`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from hookline import SendError, SendRefused, asend, send, sending
from hookline.backoff import Backoff
from hookline.retrying import retry_after_seconds

ACCEPTED = {"id": "0197f3a2-0000-7000-8000-000000000001", "status": "accepted"}
BRIEFLY = timedelta(seconds=0.3)


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Settings are read once in a process, but each test has its own."""
    sending._settings.cache_clear()
    yield
    sending._settings.cache_clear()


def bodies(server: HTTPServer) -> list[dict[str, object]]:
    return [json.loads(request.data) for request, _ in server.log]


def answer_in_turn(server: HTTPServer, *answers: Response) -> None:
    """Let the server give one answer after the other, the last one for ever."""
    left = list(answers)

    def handle(_: Request) -> Response:
        return left.pop(0) if len(left) > 1 else left[0]

    server.expect_request("/events", method="POST").respond_with_handler(handle)


def accepted() -> Response:
    return Response(json.dumps(ACCEPTED), status=202, content_type="application/json")


def test_an_event_is_posted_as_our_json_and_its_tracking_id_comes_back(httpserver: HTTPServer) -> None:
    """The id is a fresh UUIDv7, the key travels as a bearer token, and nothing empty is sent."""
    answer_in_turn(httpserver, accepted())
    tracking = send(
        "order.paid",
        {"total": 12},
        subject="orders/7",
        time=datetime(2026, 11, 24, 3, tzinfo=UTC),
        url=httpserver.url_for("/"),
        api_key="k-1",
    )
    request = httpserver.log[0][0]
    body = json.loads(request.data)
    assert tracking == ACCEPTED["id"]
    assert uuid.UUID(body.pop("id")).version == 7
    assert body == {
        "type": "order.paid",
        "subject": "orders/7",
        "time": "2026-11-24T03:00:00Z",
        "data": {"total": 12},
    }
    assert request.headers["Authorization"] == "Bearer k-1"
    assert "traceparent" not in request.headers


def test_two_sends_outside_of_a_run_are_two_events(httpserver: HTTPServer) -> None:
    answer_in_turn(httpserver, accepted())
    for _ in range(2):
        send("order.paid", url=httpserver.url_for(""))
    first, second = bodies(httpserver)
    assert first["id"] != second["id"]


async def test_async_callers_await_asend(httpserver: HTTPServer) -> None:
    answer_in_turn(httpserver, accepted())
    assert await asend("order.paid", url=httpserver.url_for("")) == ACCEPTED["id"]


async def test_send_works_where_an_event_loop_runs_already(httpserver: HTTPServer) -> None:
    """As in a sync task that an async flow calls."""
    answer_in_turn(httpserver, accepted())
    assert send("order.paid", url=httpserver.url_for("")) == ACCEPTED["id"]


def test_address_and_key_come_from_the_environment(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKLINE_URL", httpserver.url_for("/"))
    monkeypatch.setenv("HOOKLINE_API_KEY", "from-environment")
    answer_in_turn(httpserver, accepted())
    send("order.paid")
    assert httpserver.log[0][0].headers["Authorization"] == "Bearer from-environment"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_is_transient_is_tried_again_with_the_same_id(httpserver: HTTPServer, status: int) -> None:
    """So the gateway takes both attempts for one event."""
    answer_in_turn(httpserver, Response("busy", status=status), accepted())
    assert send("order.paid", url=httpserver.url_for("")) == ACCEPTED["id"]
    first, second = bodies(httpserver)
    assert first == second


def test_a_connection_that_breaks_is_tried_again() -> None:
    answer = json.dumps(ACCEPTED).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            server.accept()[0].close()
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
                )

        thread = threading.Thread(target=serve)
        thread.start()
        assert send("order.paid", url=f"http://127.0.0.1:{server.getsockname()[1]}") == ACCEPTED["id"]
        thread.join(timeout=5)


def test_it_gives_up_after_the_timeout_and_says_how_to_go_on(unused_tcp_port: int) -> None:
    """The error names the gateway and the id to send again with, and never the key."""
    with pytest.raises(SendError) as failed:
        send(
            "order.paid",
            url=f"http://somebody:secret@127.0.0.1:{unused_tcp_port}",
            api_key="k-secret",
            id="order-7",
            timeout=BRIEFLY,
        )
    assert f"http://127.0.0.1:{unused_tcp_port}" in str(failed.value)
    assert "order-7" in str(failed.value)
    assert "secret" not in str(failed.value)


def test_a_retry_after_beyond_the_timeout_is_not_waited_for(httpserver: HTTPServer) -> None:
    """Nor is the gateway asked before that time."""
    answer_in_turn(httpserver, Response("busy", status=503, headers={"Retry-After": "60"}))
    with pytest.raises(SendError, match="HTTP 503, after 1 attempt"):
        send("order.paid", url=httpserver.url_for(""), timeout=timedelta(seconds=5))
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_raised_at_once_with_its_reason(httpserver: HTTPServer, status: int) -> None:
    problem = {"status": status, "title": "Refused", "detail": "The type is spelt wrong."}
    answer_in_turn(httpserver, Response(json.dumps(problem), status, content_type="application/problem+json"))
    with pytest.raises(SendRefused, match=rf"HTTP {status}: The type is spelt wrong\."):
        send("order.paid", url=httpserver.url_for(""))
    assert len(httpserver.log) == 1


def test_an_answer_that_is_no_gateways_is_refused(httpserver: HTTPServer) -> None:
    answer_in_turn(httpserver, Response("<html>", status=200))
    with pytest.raises(SendRefused, match="no Hookline gateway"):
        send("order.paid", url=httpserver.url_for(""))


def test_what_cannot_be_sent_is_refused_before_anything_is() -> None:
    with pytest.raises(SendRefused, match="no offset"):
        send("order.paid", time=datetime(2026, 11, 24), url="http://127.0.0.1:1")
    with pytest.raises(SendRefused, match="JSON"):
        send("order.paid", {"total": Decimal(1)}, url="http://127.0.0.1:1")


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1/", "http://[::1/"])
def test_an_address_that_is_none_is_not_tried_again(url: str) -> None:
    with pytest.raises(SendError):
        send("order.paid", url=url)


@given(st.integers(1, 10_000))
def test_waits_are_spread_below_a_bound_that_doubles_and_ends(attempt: int) -> None:
    waited = Backoff().delay(attempt).total_seconds()
    assert 0 <= waited <= min(5, 0.2 * 2 ** min(attempt - 1, 32))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("7", 7.0),
        ("Mon, 24 Nov 2025 03:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


def test_importing_hookline_stays_cheap() -> None:
    """Flows import it, so it brings in neither Prefect nor an HTTP client nor pydantic."""
    heavy = "{'prefect', 'httpx', 'pydantic', 'pydantic_settings', 'sqlalchemy'}"
    code = f"import sys, hookline; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
