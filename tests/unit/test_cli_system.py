"""Which system a command is about: found by the folder, named by the environment, and never a neighbour's."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from hookline.cli import data_folder, main, output
from hookline.cli.client import Gateway, GatewayError
from hookline.cli.data_folder import locked, read_running, write_running
from hookline.cli.env import shell_lines
from hookline.cli.inbox import check_password
from hookline.cli.system import System, find_system, record, use_system
from hookline.errors import HooklineError
from hookline.settings import Settings
from tests.support.servers import free_port
from tests.support.up import HOOKLINE, until


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in an empty folder, without settings of the machine and without a gateway at the usual port."""
    for name in [*os.environ, "PREFECT_API_URL", "PREFECT_HOME"]:
        if name.startswith(("HOOKLINE_", "PREFECT_")):
            # Set first, so that what a command sets is taken back at the end.
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project in which nothing runs."""
    folder = tmp_path / "shop"
    (folder / "flows/deep").mkdir(parents=True)
    (folder / "prefect.yaml").write_text("deployments: []\n")
    return folder


@contextlib.contextmanager
def running(folder: Path, url: str, instance: str = "ours", **facts: Any) -> Iterator[None]:
    """Let a system run in a folder, by what it leaves there."""
    data = folder / ".hookline"
    with locked(data):
        port = int(url.rpartition(":")[2])
        described = record(Settings(_env_file=None, data=data, port=port), "hookline up", instance, {})
        write_running(data, {**described, **facts})
        yield


def serve(server: HTTPServer, instance: str) -> str:
    """Let a stand-in for a gateway say what it is, and have no events."""
    server.expect_request("/healthz").respond_with_json({"status": "ok", "instance": instance})
    server.expect_request("/events").respond_with_json({"events": [], "next": None})
    return server.url_for("").rstrip("/").replace("localhost", "127.0.0.1")


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hookline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("where", [".", "flows", "flows/deep"])
def test_it_is_found_by_the_folder_or_one_above(
    project: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whatever its port is, without any setting."""
    monkeypatch.chdir(project / where)
    url = serve(httpserver, "ours")
    with running(project, url), Gateway(find_system()) as gateway:
        assert gateway.get("/events", holds="events")["events"] == []
        assert gateway.url == url


def test_a_project_inside_another_is_one_of_its_own(
    project: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs further up is not its system."""
    inner = project / "inner"
    inner.mkdir()
    (inner / "prefect.yaml").write_text("deployments: []\n")
    monkeypatch.chdir(inner)
    with running(project, serve(httpserver, "ours")):
        assert "No gateway runs on" in (find_system().missing or "")


def test_folders_that_anybody_may_write_to_are_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour on the machine may lay a system into /tmp; it is not ours because we work below."""
    below = tmp_path / "shared/mine"
    below.mkdir(parents=True)
    (tmp_path / "shared").chmod(0o777)
    monkeypatch.chdir(below)
    with running(tmp_path / "shared", "http://127.0.0.1:1"):
        assert find_system().running is None


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"HOOKLINE_URL": "https://hooks.example.com/"}, "https://hooks.example.com"),
        ({"HOOKLINE_PORT": "4999"}, "http://127.0.0.1:4999"),
        ({"HOOKLINE_HOST": "0.0.0.0", "HOOKLINE_PORT": "4999"}, "http://127.0.0.1:4999"),  # noqa: S104
    ],
)
def test_an_address_in_the_environment_wins(
    project: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    """Also where another system runs in the folder."""
    monkeypatch.chdir(project)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with running(project, "http://127.0.0.1:4281"):
        system = find_system()
    assert (system.gateway, system.instance, system.missing) == (url, None, None)


def test_a_port_in_the_projects_env_file_is_no_more_than_where_up_starts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` may have been given another one; what runs is what counts."""
    monkeypatch.chdir(project)
    (project / ".env").write_text("HOOKLINE_PORT=4999\n")
    with running(project, "http://127.0.0.1:4281"):
        assert find_system().gateway == "http://127.0.0.1:4281"


def test_another_systems_gateway_at_the_address_is_an_error(
    project: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway of this folder has died, and a neighbour's has its port now."""
    monkeypatch.chdir(project)
    with running(project, serve(httpserver, "theirs")):
        assert command(monkeypatch, "events", "ls") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "another system" in told.err
    assert str(project / ".hookline") in told.err
    assert [request.path for request, _ in httpserver.log] == ["/healthz"]


def test_what_an_ended_up_has_left_is_not_believed(
    project: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record names a process id that lives, this one's, and a port at which a gateway answers."""
    monkeypatch.chdir(project)
    url = serve(httpserver, "ours")
    with running(project, url):
        left = (project / ".hookline/up.json").read_bytes()
    assert not (project / ".hookline/up.json").exists()
    (project / ".hookline/up.json").write_bytes(left)
    assert command(monkeypatch, "events", "ls") == 1
    told = capsys.readouterr().err
    assert f"process {os.getpid()}` has ended" in told
    assert "hookline up" in told
    assert httpserver.log == []


def test_a_project_without_a_system_does_not_use_the_one_at_the_usual_port(
    project: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one is most likely another project's. Where there is no project, it is the one that is meant."""
    (project.parent / ".env").write_text(f"HOOKLINE_PORT={httpserver.port}\n")
    (project / ".env").write_text(f"HOOKLINE_PORT={httpserver.port}\n")
    serve(httpserver, "theirs")
    monkeypatch.chdir(project)
    with pytest.raises(GatewayError, match="No gateway runs on"), Gateway(find_system()):
        pass
    monkeypatch.chdir(project.parent)
    with Gateway(find_system()) as gateway:
        assert gateway.get("/events")["events"] == []


def test_a_gateway_that_is_being_started_again_is_said_to_be(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` runs, its gateway does not answer just now."""
    monkeypatch.chdir(project)
    system_there = running(project, f"http://127.0.0.1:{free_port()}")
    with (
        system_there,
        pytest.raises(GatewayError, match=r"does not answer.*gateway\.log"),
        Gateway(find_system()),
    ):
        pass


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>502</html>", "text/html"),
        ("[]", "application/json"),
        ('{"hello": "world"}', "application/json"),
        ("", "text/plain"),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "ls"),
        ("events", "show", "x"),
        ("send", "a.b"),
        ("trace", "x"),
        ("impact", "x"),
        ("rejections",),
        ("dead", "ls"),
        ("dead", "replay", "--all"),
        ("replay", "--type", "a.*"),
        ("replay", "x"),
        ("events", "tail"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("status", [200, 502])
def test_what_is_no_gateway_is_said_to_be_none(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    body: str, kind: str, arguments: tuple[str, ...], status: int,
) -> None:  # fmt: skip
    """A proxy's page, another server's JSON: one line, exit code 1, whatever the command."""
    httpserver.expect_request(re.compile(".*")).respond_with_data(body, status, content_type=kind)
    monkeypatch.setenv("HOOKLINE_URL", httpserver.url_for("").rstrip("/"))
    assert command(monkeypatch, *arguments) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "Hookline" in told.err or "refused" in told.err


def test_prefect_is_that_of_the_running_system_unless_one_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address and home are taken, and a profile for elsewhere is left out."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("PREFECT_PROFILE", "cloud")
    theirs = {"PREFECT_API_URL": "http://127.0.0.1:4201/api", "PREFECT_PROFILE": None, "PATH": "/elsewhere"}
    path = os.environ["PATH"]
    with running(project, "http://127.0.0.1:4281", prefect_environment=theirs):
        use_system()
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
        assert "PREFECT_PROFILE" not in os.environ
        assert os.environ["PATH"] == path
        monkeypatch.setenv("PREFECT_API_URL", "http://named/api")
        use_system()
        assert os.environ["PREFECT_API_URL"] == "http://named/api"


def test_the_database_of_the_running_system_is_known_but_not_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`audit` and `doctor` look into the inbox that is used; a password is never written down."""
    monkeypatch.chdir(project)
    for address, told in (
        ("postgresql://hookline@db/hookline", None),
        (
            "postgresql://hookline:pass%40word@db/hookline",
            r"postgresql://hookline:\*\*\*@db/hookline.*HOOKLINE_DATABASE",
        ),
    ):
        settings = Settings(_env_file=None, data=project / ".hookline", database=address)
        with locked(settings.data):
            write_running(settings.data, record(settings, "hookline gateway", "ours", {}))
            assert "word" not in (settings.data / "up.json").read_text()
            if told is None:
                assert use_system().database == address
            else:
                with pytest.raises(HooklineError, match=told):
                    check_password(use_system())


def test_looking_whether_something_runs_stops_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that looks has the lock for a moment; `up` tries again a moment later."""
    with locked(tmp_path):
        pass
    looking = os.open(tmp_path / "up.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(data_folder.time, "sleep", lambda seconds: os.close(looking))
    with locked(tmp_path):
        pass


def test_looking_leaves_no_trace(tmp_path: Path) -> None:
    """A command that only asks makes no data folder."""
    assert read_running(tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["plain", "two words", "it's $HOME", 'quo"te', "new\nline"])
def test_a_shell_that_evaluates_env_has_what_it_says(tmp_path: Path, name: str) -> None:
    """Whatever the folder is called; and `--unset` takes it back."""
    data = tmp_path / name / ".hookline"
    running_there = {
        "address": "http://127.0.0.1:4281",
        "prefect_environment": {"PREFECT_API_URL": "http://127.0.0.1:4201/api", "PREFECT_PROFILE": None},
    }
    system = System(Settings(_env_file=None, data=data), running_there, "", None)
    names = "HOOKLINE_DATA", "HOOKLINE_URL", "PREFECT_API_URL", "PREFECT_PROFILE"
    shown = (
        f'{sys.executable} -c "import os, json; print(json.dumps([os.environ.get(n) for n in {names!r}]))"'
    )
    lines = "\n".join([*shell_lines(system), shown, *shell_lines(system, unset=True), shown])
    done = subprocess.run(
        ["bash", "-c", lines], env={"PATH": "/usr/bin:/bin", "PREFECT_PROFILE": "cloud"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == [str(data), "http://127.0.0.1:4281", "http://127.0.0.1:4201/api", None]
    assert second == [None] * 4
    assert f"export PATH={Path(sys.executable).parent}" in lines


def test_verbose_says_what_is_used_beside_the_results(
    project: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the standard error, wherever the option stands."""
    monkeypatch.setattr(output, "_verbose", False)
    monkeypatch.chdir(project)
    url = serve(httpserver, "ours")
    with running(project, url):
        assert command(monkeypatch, "events", "--verbose", "ls", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"events": []}
    assert f"gateway      {url} (it runs in this folder)" in told.err
    assert f"{project / '.hookline'} (hookline up, process {os.getpid()})" in told.err


@pytest.mark.parametrize(
    "address", ["shop", "ftp://shop", "http://[", "http://", "http://a:99999", "http://a b"]
)
def test_what_is_no_address_is_said_to_be_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    """In one line."""
    monkeypatch.setenv("HOOKLINE_URL", address)
    assert command(monkeypatch, "events", "ls") == 1
    assert capsys.readouterr().err.startswith(f"hookline: {address.rstrip('/')!r} is no address of a gateway")


def test_a_password_in_an_address_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in an error nor with `--verbose`."""
    monkeypatch.setattr(output, "_verbose", False)
    monkeypatch.setenv("HOOKLINE_URL", f"http://ada:secret@127.0.0.1:{free_port()}")
    assert command(monkeypatch, "events", "ls", "--verbose") == 1
    assert "secret" not in capsys.readouterr().err


def test_a_gateway_that_was_started_alone_is_found_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On whatever port it got, from anywhere in the project, and no more once it was killed."""
    env = {**os.environ, "HOOKLINE_PORT": "0", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    gateway = subprocess.Popen([*HOOKLINE, "gateway"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: read_running(project / ".hookline"), "the gateway to listen", 60)
        monkeypatch.chdir(project / "flows")
        with Gateway(find_system()) as client:
            assert client.get("/events", holds="events")["events"] == []
        use_system()
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    finally:
        gateway.kill()
        gateway.wait()
    with (
        pytest.raises(GatewayError, match=r"`hookline gateway, process \d+` has ended"),
        Gateway(find_system()),
    ):
        pass


def test_a_record_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """The disk is full, say: here a folder stands where the file should."""
    (tmp_path / "up.json").mkdir()
    with pytest.raises(HooklineError, match=r"up\.json cannot be used .*HOOKLINE_DATA"):
        write_running(tmp_path, {})
