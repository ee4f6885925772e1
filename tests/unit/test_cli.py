"""The command line: what it prints, what it exits with, and how it fails."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from hookline.cli import main
from hookline.cli.output import duration, since
from hookline.cli.send import read_data
from hookline.errors import HooklineError
from tests.support.servers import free_port
from tests.support.up import HOOKLINE


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in an empty folder, without settings of the machine."""
    for name in list(os.environ):
        if name.startswith(("HOOKLINE_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOKLINE_URL", f"http://127.0.0.1:{free_port()}")

    def command(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["hookline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


@pytest.fixture
def gateway(run: Run, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """Give a stand-in for the gateway, at which the commands of this test look."""
    monkeypatch.setenv("HOOKLINE_URL", httpserver.url_for("").rstrip("/"))
    return httpserver


def listed(number: int) -> dict[str, object]:
    return {
        "id": f"id-{number}", "type": "order.paid", "subject": None, "source": "shop", "status": "ignored",
        "time": "2026-11-24T03:00:00Z",
    }  # fmt: skip


def test_the_overview_loads_no_command() -> None:
    """`hookline --help` is quick because nothing heavy is imported for it."""
    heavy = ["prefect", "httpx", "sqlalchemy", "pydantic", "starlette", "yaml"]
    code = (
        "import sys; from hookline.cli.app import build; build(['--help'])(['--help']);"
        f" print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "deploy" in shown.stdout
    assert shown.stderr.strip() == "[]"


def test_an_error_is_one_line_that_says_what_to_do(run: Run) -> None:
    """No traceback, exit code 1, nothing on the standard output."""
    outcome = run("events", "ls")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("hookline: No gateway answers at http://127.0.0.1:")
    assert "hookline up" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_setting_that_cannot_be_used_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the variable's name."""
    monkeypatch.setenv("HOOKLINE_PORT", "eighty")
    outcome = run("events", "ls")
    assert outcome.code == 1
    assert "HOOKLINE_PORT" in outcome.err


@pytest.mark.parametrize("arguments", [("evnts",), ("send",), ("events", "ls", "--limit", "many")])
def test_bad_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    """An unknown command, a missing argument, a value of the wrong type."""
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("--help | head -0", 0, "", ""),
        ("events ls | head -0", 0, "", ""),
        ("events ls --json | head -c 1", 0, "{", ""),
        ("events ls > /dev/full", 1, "", "hookline: No space left on device.\n"),
    ],
)
def test_where_the_output_goes_away_nobody_is_told_more_than_a_line(
    gateway: HTTPServer, line: str, code: int, out: str, err: str
) -> None:
    """`head` ends silently, a full disk is one line."""
    gateway.expect_request("/events").respond_with_json(
        {"events": [listed(number) for number in range(500)], "next": None}
    )
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(HOOKLINE)} {line}"],
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_a_terminal_that_knows_little_is_no_reason_to_fail(gateway: HTTPServer) -> None:
    """What cannot be encoded is written with escapes."""
    gateway.expect_request("/events").respond_with_json(
        {"events": [listed(1) | {"subject": "Bød"}], "next": None}
    )
    done = subprocess.run(
        [*HOOKLINE, "events", "ls"], env=os.environ | {"PYTHONIOENCODING": "ascii"}, text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "B\\xf8d" in done.stdout


def test_the_end_of_several_ids_names_them(run: Run, gateway: HTTPServer) -> None:
    """So that one can be chosen."""
    both = [listed(number) | {"accepted": "2026-11-24T03:00:00Z"} for number in (1, 2)]
    gateway.expect_request("/events", query_string={"id": "4f812a6f"}).respond_with_json(
        {"events": both, "next": None}
    )
    outcome = run("events", "show", "4f812a6f")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "id-1 (order.paid, accepted 2026-11-24T03:00:00Z); id-2" in outcome.err


def test_a_terminal_is_not_made_to_obey_a_sender(run: Run, gateway: HTTPServer) -> None:
    """Control characters in what a sender chose are shown, and not sent."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\x9b1m"
    gateway.expect_request("/events").respond_with_json(
        {"events": [listed(1) | {"subject": evil, "type": evil}], "next": None}
    )
    shown = run("events", "ls").out
    assert "owned" in shown
    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(shown)


@pytest.mark.parametrize("command", ["gateway", "worker"])
def test_no_server_is_started_by_accident(command: str, tmp_path: Path) -> None:
    """Without a Prefect address `gateway` and `worker` refuse; Prefect would start an ephemeral server."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("HOOKLINE_", "PREFECT_"))
    }
    env |= {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    refused = subprocess.run(
        [sys.executable, "-P", "-m", "hookline", command],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "PREFECT_API_URL" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_events_ls_asks_for_what_was_asked_page_by_page(run: Run, gateway: HTTPServer) -> None:
    """Filters go along, pages are followed by their cursor, and no more than `--limit` come out."""
    asked = {"type": "order.*", "status": "ignored"}
    gateway.expect_request("/events", query_string=asked | {"limit": "100"}).respond_with_json(
        {"events": [listed(number) for number in range(100)], "next": "further"}
    )
    gateway.expect_request(
        "/events", query_string=asked | {"limit": "20", "cursor": "further"}
    ).respond_with_json({"events": [listed(number) for number in range(100, 120)], "next": "even further"})
    outcome = run("events", "ls", "--type", "order.*", "--status", "ignored", "--limit", "120", "--json")
    assert outcome.code == 0
    assert [event["id"] for event in json.loads(outcome.out)["events"]] == [f"id-{n}" for n in range(120)]


def test_events_ls_prints_a_table_that_other_programs_can_read(run: Run, gateway: HTTPServer) -> None:
    """In a pipe there are no colours and no line is wrapped or cut."""
    long = listed(1) | {"subject": "s" * 300}
    gateway.expect_request("/events").respond_with_json({"events": [long], "next": None})
    lines = run("events", "ls").out.splitlines()
    assert len(lines) == 2
    assert "s" * 300 in lines[1]
    assert "\x1b" not in lines[1]


@pytest.mark.parametrize(
    ("status", "problem", "told"),
    [
        (401, {"detail": "No API key."}, "HOOKLINE_API_KEY"),
        (404, {"detail": "There is no such event."}, "There is no such event."),
        (502, None, "502"),
    ],
)
def test_a_refusal_is_passed_on(
    run: Run, gateway: HTTPServer, status: int, problem: dict[str, str] | None, told: str
) -> None:
    """What the gateway says is what the person reads."""
    if problem is None:
        gateway.expect_request("/events/x").respond_with_data("<html>", status=status)
    else:
        gateway.expect_request("/events/x").respond_with_json(problem, status=status)
    outcome = run("events", "show", "x")
    assert outcome.code == 1
    assert told in outcome.err


def test_send_prints_the_tracking_id_and_nothing_else(run: Run, gateway: HTTPServer) -> None:
    """So that a script can take it; the key goes along."""
    gateway.expect_request(
        "/events", method="POST", json={"type": "order.paid", "id": "order-17", "data": {"amount": 12.5}}
    ).respond_with_json({"id": "0197", "status": "accepted"}, status=202)
    assert run("send", "order.paid", "--id", "order-17", "--data", '{"amount": 12.5}').out == "0197\n"


def test_data_comes_as_json_from_a_file_or_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data JSON`, `--data @FILE`, `--data -`; anything that is no JSON is an error that says so."""
    (tmp_path / "event.json").write_text('{"a": 1}')
    with (tmp_path / "event.json").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read_data("-") == {"a": 1}
    assert read_data(f"@{tmp_path / 'event.json'}") == {"a": 1}
    assert read_data("[1, 2]") == [1, 2]
    assert read_data(None) is None
    with pytest.raises(HooklineError, match="quotes"):
        read_data("plain words")
    with pytest.raises(HooklineError, match="No such file"):
        read_data("@nowhere.json")


def test_init_lays_a_project_in_an_empty_folder_alone(run: Run, tmp_path: Path) -> None:
    """Everything that `up` needs is there; a folder with something in it is left as it is."""
    assert run("init", "shop").code == 0
    made = {
        str(path.relative_to(tmp_path / "shop")) for path in (tmp_path / "shop").rglob("*") if path.is_file()
    }
    assert {"prefect.yaml", "flows/hello.py", "deployments/sources.yaml", ".gitignore"} <= made
    outcome = run("init", "shop")
    assert outcome.code == 1
    assert "not an empty folder" in outcome.err


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0382, "38 ms"),
        (0.9996, "1.0 s"),
        (2.44, "2.4 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7_260, "2 h 01 min"),
    ],
)
def test_durations_are_shown_in_the_unit_that_suits_them(seconds: float, shown: str) -> None:
    """From milliseconds to hours."""
    assert duration(timedelta(seconds=seconds)) == shown


def test_a_point_in_time_may_be_an_age() -> None:
    """`2h` is two hours ago; a time keeps its offset; nonsense is an error."""
    assert abs(since("2h") - (datetime.now(UTC) - timedelta(hours=2))) < timedelta(seconds=5)
    assert since("2026-11-24T03:00:00+01:00") == datetime(2026, 11, 24, 2, tzinfo=UTC)
    assert since("2026-11-24").tzinfo is not None
    with pytest.raises(ValueError, match="Invalid"):
        since("yesterday")
