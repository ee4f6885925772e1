"""Claim checks: data that stays at the gateway until a flow uses it."""

from __future__ import annotations

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from hookline import ClaimError, Event
from hookline.event import Claim, now


def event_with(claim: Claim) -> Event:
    return Event(id="e-1", type="order.paid", source="shop", time=now(), accepted=now(), claim=claim)


def test_data_is_loaded_on_first_use_and_once(httpserver: HTTPServer) -> None:
    """With the token of the dispatch, and read as the gateway says that it lies in the body."""
    httpserver.expect_request("/events/e-1/body", headers={"Authorization": "Bearer t-1"}).respond_with_data(
        "a=1&a=2", headers={"Hookline-Body-Format": "form"}
    )
    event = event_with(Claim(httpserver.url_for("/events/e-1/body"), "t-1"))
    assert not httpserver.log
    assert event.data == {"a": ["1", "2"]}
    assert event.data == {"a": ["1", "2"]}
    assert len(httpserver.log) == 1


def test_a_gateway_that_is_busy_is_asked_again(httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request("/body").respond_with_data("busy", status=503)
    httpserver.expect_ordered_request("/body").respond_with_data(
        "[1]", headers={"Hookline-Body-Format": "json"}
    )
    assert event_with(Claim(httpserver.url_for("/body"), "t-1")).data == [1]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Response(status=401), "Replay the event"),
        (Response(status=403), "Replay the event"),
        (Response(status=404), "retention has removed it"),
        (Response(status=307), "HTTP 307"),
        (Response("{", headers={"Hookline-Body-Format": "json"}), "not what its"),
        (Response("{}"), "not what its"),
    ],
)
def test_an_error_says_what_to_do_and_never_holds_the_token(
    httpserver: HTTPServer, answer: Response, says: str
) -> None:
    httpserver.expect_request("/body").respond_with_response(answer)
    with pytest.raises(ClaimError, match=says) as failed:
        _ = event_with(Claim(httpserver.url_for("/body"), "t-secret")).data
    assert "t-secret" not in str(failed.value)
