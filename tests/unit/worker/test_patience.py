"""A busy server is asked again soon, an absent one for long, and what it says then is what is returned."""

from __future__ import annotations

import time

import httpx
import pytest

from hookline.worker import patience
from hookline.worker.patience import AsyncPatientTransport, PatientTransport


class Answers(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers with what it is given, in turn: a status, or an error that is raised."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ((200,), 200),
        ((503, 503, 201), 201),
        ((httpx.ConnectError("gone"), httpx.RemoteProtocolError("closed"), 200), 200),
        ((503, httpx.ReadError("reset"), 422), 422),
    ],
)
async def test_what_passes_is_waited_out(answers: tuple[int | Exception, ...], status: int) -> None:
    began = time.monotonic()
    transport = PatientTransport(Answers(*answers))
    assert transport.handle_request(httpx.Request("GET", "http://prefect")).status_code == status
    async with httpx.AsyncClient(transport=AsyncPatientTransport(Answers(*answers))) as asynchronous:
        assert (await asynchronous.get("http://prefect")).status_code == status
    assert time.monotonic() - began < 2


def test_what_does_not_pass_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BUSY_DELAYS", (0.0, 0.0))
    with httpx.Client(transport=PatientTransport(Answers(503, 503, 503))) as client:
        assert client.get("http://prefect").status_code == 503
    gone = Answers(*[httpx.ConnectError("gone")] * 3)
    with (
        httpx.Client(transport=PatientTransport(gone, absence_seconds=0)) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.get("http://prefect")
