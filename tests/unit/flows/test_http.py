"""Fetching over HTTP against a real server; that Prefect retries it is in `tests/integration`."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tasks.http import FetchInterrupted, FetchRefused, fetch
from tasks.resources import Fetched, Resource
from tasks.settings import task_settings

BODY = b"id,name\n1,a\n"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, httpserver: HTTPServer) -> Iterator[None]:
    """Let files be fetched from the test's own server, which is not a public address."""
    monkeypatch.setenv("HOOKLINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TASKS_HOSTS", f"127.0.0.1 localhost:{httpserver.port}")
    monkeypatch.setenv("TASKS_FETCH_LIMIT_BYTES", "1000000")
    task_settings.cache_clear()
    yield
    task_settings.cache_clear()


def get(url: str, folder: Path, **given: Any) -> Fetched:
    return fetch.fn(Resource(url=url, **given), folder)


def test_a_file_is_fetched_and_hashed(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/orders.csv").respond_with_data(BODY)
    fetched = get(httpserver.url_for("/orders.csv?sig=secret"), tmp_path / "new")
    assert Path(fetched.path).read_bytes() == BODY
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert fetched.size_bytes == len(BODY)
    assert "secret" not in repr(fetched)


def test_redirects_are_followed(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/old.csv").respond_with_data("", 302, {"Location": "/new.csv"})
    httpserver.expect_request("/new.csv").respond_with_data(BODY)
    assert Path(get(httpserver.url_for("/old.csv"), tmp_path).path).read_bytes() == BODY


def test_a_checksum_in_either_case_is_held_against_the_bytes(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/orders.csv").respond_with_data(BODY)
    url = httpserver.url_for("/orders.csv")
    right = hashlib.sha256(BODY).hexdigest().upper()
    assert get(url, tmp_path, sha256=right).sha256 == right.lower()
    with pytest.raises(FetchRefused, match="another checksum"):
        get(url, tmp_path, sha256="0" * 64)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_statuses_that_pass_are_told_as_an_interruption(
    httpserver: HTTPServer, tmp_path: Path, status: int
) -> None:
    httpserver.expect_request("/a.csv").respond_with_data("busy", status)
    with pytest.raises(FetchInterrupted, match=str(status)):
        get(httpserver.url_for("/a.csv"), tmp_path)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_statuses_that_stay_are_told_as_a_refusal(
    httpserver: HTTPServer, tmp_path: Path, status: int
) -> None:
    httpserver.expect_request("/a.csv").respond_with_data("no", status)
    with pytest.raises(FetchRefused, match=str(status)):
        get(httpserver.url_for("/a.csv"), tmp_path)


def test_a_retry_after_is_waited_for_unless_it_is_too_long(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tasks.http.time.sleep", waits.append)
    httpserver.expect_request("/short.csv").respond_with_data("", 503, {"Retry-After": "17"})
    httpserver.expect_request("/long.csv").respond_with_data("", 503, {"Retry-After": "3600"})
    with pytest.raises(FetchInterrupted):
        get(httpserver.url_for("/short.csv"), tmp_path)
    with pytest.raises(FetchRefused, match="asks to wait 3600 s"):
        get(httpserver.url_for("/long.csv"), tmp_path)
    assert waits == [17.0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nid,name\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nid,name\n\r\n",
        b"",
    ],
    ids=["length", "chunked", "nothing"],
)
def test_a_truncated_body_is_an_interruption(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(FetchInterrupted, match="RemoteProtocolError"):
            get(f"http://127.0.0.1:{server.getsockname()[1]}/a.csv", tmp_path)
        thread.join(timeout=5)


def test_a_refused_connection_is_an_interruption(tmp_path: Path, unused_tcp_port: int) -> None:
    with pytest.raises(FetchInterrupted, match="ConnectError"):
        get(f"http://127.0.0.1:{unused_tcp_port}/a.csv", tmp_path)


def test_a_file_above_the_limit_is_refused_however_it_is_sent(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/a.csv").respond_with_data(b"x" * 1_000_001)
    with pytest.raises(FetchRefused, match="TASKS_FETCH_LIMIT_BYTES"):
        get(httpserver.url_for("/a.csv"), tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost/",
        "http://127.0.0.2/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://224.0.0.1/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/latest/meta-data/",
        "http://[64:ff9b:1::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
    ],
)
def test_an_address_inside_is_refused_unless_it_is_allowed(tmp_path: Path, address: str) -> None:
    """Anybody who may send an event could otherwise make a flow read what only this network can."""
    with pytest.raises(FetchRefused, match="not a public address"):
        get(address, tmp_path)


def test_the_connection_goes_to_the_address_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere the second time it is looked up leads nowhere: it is looked up once."""
    answers = [["93.184.215.14"], ["127.0.0.1"]]
    asked: list[str] = []
    connected: list[str] = []

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in answers[len(asked) - 1]]

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        connected.append(address[0])
        raise OSError("no network in this test")

    monkeypatch.setattr("tasks.http.socket.getaddrinfo", look_up)
    monkeypatch.setattr("socket.create_connection", connect)
    with pytest.raises(FetchInterrupted, match="ConnectError"):
        get("http://files.example.com/a.csv", tmp_path)
    assert (asked, connected) == (["files.example.com"], ["93.184.215.14"])


def test_a_redirect_to_an_address_inside_is_refused_too(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/a.csv").respond_with_data("", 302, {"Location": "http://127.0.0.2:1/a.csv"})
    with pytest.raises(FetchRefused, match="not a public address"):
        get(httpserver.url_for("/a.csv"), tmp_path)


def test_files_of_this_machine_come_from_the_data_folder_by_default(tmp_path: Path) -> None:
    files = tmp_path / "data" / "files"
    files.mkdir(parents=True)
    (files / "orders.csv").write_bytes(BODY)
    assert Path(get((files / "orders.csv").as_uri(), tmp_path).path).read_bytes() == BODY
    with pytest.raises(PermissionError):
        get((tmp_path / "orders.csv").as_uri(), tmp_path)
