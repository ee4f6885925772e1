"""The main job, end to end, with everything real: `hookline up` as a user starts it, and what may befall it.

The tests share one system and run in this order; each leaves it working.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from tests.support.pages import Block, blocks, pages, paste
from tests.support.servers import PrefectServer
from tests.support.up import REPOSITORY, Up, copy_project, running_up, runs_of, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for left-over processes in /proc")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Give a system that was started on an empty folder and has printed its curl commands."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "project").mkdir()
    # The default folder, so that a shell that stands in the project finds it.
    with running_up(copy_project(folder / "project"), folder / "project" / ".hookline") as up:
        up.start().wait_for("Ctrl-C stops everything")
        yield up


class Push:
    """A GitHub delivery, taken from the curl command that `up` prints."""

    def __init__(self, up: Up) -> None:
        command = next(line for line in up.lines if "X-Hub-Signature-256" in line)
        words = shlex.split(command)
        self.url = words[2]
        self.headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
        self.body = words[words.index("-d") + 1]
        self.secret = json.loads((up.data / "development-secrets.json").read_text())["GITHUB_WEBHOOK_SECRET"]

    def deliver(self, body: str | None = None, **headers: str) -> httpx.Response:
        """Send it as it was printed, or with another body or other headers."""
        return httpx.post(
            self.url, content=self.body if body is None else body, timeout=20,
            headers={**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}},
        )  # fmt: skip

    def sign(self, body: str) -> str:
        return hmac.new(self.secret.encode(), body.encode(), "sha256").hexdigest()

    def deliver_new(self, message: str) -> httpx.Response:
        """Send another push, signed, under a delivery id of its own."""
        payload = json.loads(self.body)
        payload["commits"][0] |= {"id": hashlib.sha1(message.encode()).hexdigest(), "message": message}  # noqa: S324 (git's)
        body = json.dumps(payload)
        return self.deliver(
            body,
            X_GitHub_Delivery=str(uuid.uuid4()),
            X_Hub_Signature_256="sha256="
            + hmac.new(self.secret.encode(), body.encode(), "sha256").hexdigest(),
        )


@pytest.fixture(scope="module")
def push(system: Up) -> Push:
    return Push(system)


def finished(up: Up, event_id: str) -> dict[str, Any]:
    """Return an event's tracking document once its runs are final."""

    def ask() -> dict[str, Any] | None:
        try:
            document = httpx.get(f"{up.url}/events/{event_id}?wait=30", timeout=45).raise_for_status().json()
        except httpx.TransportError:  # the gateway is being started again
            return None
        return document if document["receipt"]["finished"] else None

    document: dict[str, Any] = until(ask, f"event {event_id} finished", 60)
    return document


def pushes(up: Up, sha: str) -> int:
    """Count the commits of that id in the flow's own table."""

    def count() -> list[int] | None:
        try:
            with duckdb.connect(up.data / "warehouse.duckdb", read_only=True) as db:
                return [db.execute("SELECT count(*) FROM commits WHERE sha = ?", [sha]).fetchone()[0]]
        except duckdb.IOException:  # a flow is writing; DuckDB has one writing process
            return None

    found: list[int] = until(count, "the warehouse could be read")
    return found[0]


def readme_blocks(heading: str) -> list[str]:
    """Return the code blocks of a section of the README."""
    section = (REPOSITORY / "README.md").read_text().split(f"{heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)


def test_up_sends_a_sample_through_the_whole_chain_and_prints_its_trace(system: Up) -> None:
    """The trace shows two flows joined by an event, both completed, with links into the Prefect UI."""
    trace = system.output[system.output.index("resource.ready") :]
    assert trace.count("COMPLETED") == 2
    assert "sent dataset.loaded" in trace
    link = next(word for word in trace.split() if "/runs/flow-run/" in word)
    page = httpx.get(link, headers={"Accept": "text/html"})
    assert (page.status_code, "<html" in page.text) == (200, True)


def test_the_printed_signed_delivery_starts_a_run_that_prefect_knows_too(system: Up, push: Push) -> None:
    """202 with a tracking id; the gateway shows the run COMPLETED, and Prefect's API too, with tags."""
    answer = push.deliver()
    assert answer.status_code == 202, answer.text
    event_id = answer.json()["id"]
    assert answer.headers["location"].endswith(f"/events/{event_id}")

    document = finished(system, event_id)
    assert [d["flow_run"]["state"] for d in document["dispatches"]] == ["COMPLETED"]
    (run,) = runs_of(system.api, event_id)
    assert run["id"] == document["dispatches"][0]["flow_run"]["id"]
    assert run["state_type"] == "COMPLETED"
    assert {f"event:{event_id}", "event-type:github.push", "source:github"} <= set(run["tags"])


def test_the_same_delivery_again_starts_nothing(system: Up, push: Push) -> None:
    """Three times the same delivery: one tracking id, one run, one row in the flow's table."""
    answers = [push.deliver() for _ in range(3)]
    (event_id,) = {answer.json()["id"] for answer in answers}
    assert {answer.json()["status"] for answer in answers} == {"duplicate"}
    assert finished(system, event_id)["duplicates"] == 3
    assert len(runs_of(system.api, event_id)) == 1
    assert pushes(system, json.loads(push.body)["after"]) == 1


@pytest.mark.parametrize(
    ("status", "body", "signed"),
    [(401, None, False), (400, "this is no JSON", True), (413, json.dumps("x" * 1_100_000), True)],
    ids=["bad signature", "not JSON", "too large"],
)
def test_what_is_wrong_is_turned_away(
    system: Up, push: Push, status: int, body: str | None, signed: bool
) -> None:
    """A bad signature is 401, no JSON 400, a body above the limit 413: each problem+json, and no event."""
    before = httpx.get(f"{system.url}/events").json()["events"]
    content = push.body if body is None else body
    digest = hmac.new(push.secret.encode(), content.encode(), "sha256").hexdigest() if signed else "0" * 64
    answer = push.deliver(
        content, X_GitHub_Delivery=str(uuid.uuid4()), X_Hub_Signature_256=f"sha256={digest}"
    )
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == status
    assert httpx.get(f"{system.url}/events").json()["events"] == before


def test_a_gateway_killed_after_the_202_runs_the_event_once(system: Up, push: Push) -> None:
    """SIGKILL between the acknowledgement and the run: `up` restarts the gateway, and there is one run."""
    # The server stands still, so that the run cannot have been created before the kill.
    os.kill(system.pids["Prefect server"], signal.SIGSTOP)
    try:
        event_id = push.deliver_new("sent before the gateway died").json()["id"]
        os.kill(system.pids["Gateway"], signal.SIGKILL)
        # Nobody is refused meanwhile: senders that do not try again would have lost their event.
        assert push.deliver_new("sent while the gateway was dead").status_code == 202
    finally:
        os.kill(system.pids["Prefect server"], signal.SIGCONT)
    system.wait_for("Gateway is running again")
    assert [d["flow_run"]["state"] for d in finished(system, event_id)["dispatches"]] == ["COMPLETED"]
    assert len(runs_of(system.api, event_id)) == 1


def test_events_sent_while_prefect_is_down_run_when_it_is_back(system: Up, push: Push) -> None:
    """SIGKILL of the Prefect server, five events, the server again: five runs."""
    os.kill(system.pids["Prefect server"], signal.SIGKILL)
    answers = [push.deliver_new(f"sent while Prefect was down, {number}") for number in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 5
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{system.api}/health")
    system.wait_for("Prefect server is running again")
    for answer in answers:
        event_id = answer.json()["id"]
        assert [d["flow_run"]["state"] for d in finished(system, event_id)["dispatches"]] == ["COMPLETED"]
        assert len(runs_of(system.api, event_id)) == 1


def test_commands_find_the_running_system(system: Up) -> None:
    """`events ls`, `send --wait` and `trace` need no settings beyond those of `up`."""
    listed = json.loads(system.run("events", "ls", "--type", "github.*", "--json").stdout)["events"]
    assert len(listed) == 8, listed
    sent = system.run("send", "nothing.waits.for.this", "--data", '{"a": 1}', "--wait", "--json")
    assert (sent.returncode, json.loads(sent.stdout)["status"]) == (0, "ignored")
    assert "COMPLETED" in system.run("trace", listed[0]["id"]).stdout


def test_a_flow_of_my_own_in_ten_lines(system: Up, tmp_path: Path) -> None:
    """What the README tells to write and to type works, word by word, in a second shell while `up` runs."""
    flow, trigger, commands = readme_blocks("## Add your own flow")
    (system.project / "flows/orders.py").write_text(flow)
    with (system.project / "prefect.yaml").open("a") as project:
        project.write(trigger)
    said = paste(system, [Block("README.md", commands)], tmp_path)
    assert "book/on-order-paid/order-paid" in said
    assert "COMPLETED" in said


#: Blocks that are not run, by how they begin, and why.
NOT_RUN = {
    "git clone": "gets and starts what this test runs beside",
    "hookline deploy": "is run by the test above, and takes its time",
    "hookline up --server": "wants a Prefect server at a made-up address",
    "export PREFECT_API_URL=http://prefect.internal": "wants a Prefect server at a made-up address",
    "HOOKLINE_DATABASE=postgresql://": "wants a database at a made-up address",
    "prefect worker start": "goes on until Ctrl-C",
}


@pytest.mark.parametrize("page", pages())
def test_what_the_documentation_tells_to_paste_works(system: Up, tmp_path: Path, page: str) -> None:
    """Every shell block of a page, in order, in a second shell in the project's folder."""
    chosen = [each for each in blocks(page) if not each.text.startswith(tuple(NOT_RUN))]
    if chosen:
        paste(system, chosen, tmp_path)


def test_what_is_not_run_is_still_there() -> None:
    """The list of exceptions does not outlive its reasons."""
    every = [block.text for page in pages() for block in blocks(page)]
    for beginning in NOT_RUN:
        assert any(text.startswith(beginning) for text in every), beginning


def test_what_up_prints_can_be_pasted(system: Up, tmp_path: Path) -> None:
    """Line by line, into a shell that stands elsewhere and has `hookline` and `prefect` not on its path."""
    printed = [line.strip() for line in system.lines if line.startswith(("  curl", "  hookline", "  cd "))]
    assert len(printed) == 5, printed
    script = "\n".join(["set -e", *printed, "prefect deployment ls", "hookline doctor"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script], cwd=tmp_path, text=True, capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(system.home)}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("HTTP/1.1 202") == 2
    assert "on-resource-ready" in done.stdout
    assert re.search(r"^sources +ok", done.stdout, re.MULTILINE)


def test_a_second_up_says_what_is_in_its_way(system: Up) -> None:
    """On the same data folder, or on a port that is taken, `up` ends at once and names what to change."""
    again = system.run("up")
    assert again.returncode == 1
    assert "HOOKLINE_DATA" in again.stderr
    assert str(system.process.pid) in again.stderr
    beside = Up(system.project, system.data.parent / "beside", port=system.port).run("up")
    assert beside.returncode == 1
    assert "HOOKLINE_PORT" in beside.stderr


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(system: Up) -> None:
    """No process is left, the ports are free, and the user's home was not touched."""
    assert system.leftovers()
    assert system.stop() == 0
    assert system.leftovers() == {}
    for url in (system.url, system.api):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    assert list(system.home.iterdir()) == []


def test_an_existing_server_is_used_and_left_as_it_was(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """`up --server`: a gateway and a worker for it; no pool is made, no sample sent, and it stays up."""

    def pools() -> set[str]:
        asked = httpx.post(f"{prefect_server.api_url}/work_pools/filter", json={})
        return {pool["name"] for pool in asked.raise_for_status().json()}

    before = pools()
    with running_up(tmp_path / "project", tmp_path / "data") as up:
        tmp_path.joinpath("project").mkdir()
        assert up.run("init").returncode == 0
        up.start("--server", prefect_server.api_url).wait_for("Ctrl-C stops everything")
        assert up.pids.keys() == {"Gateway", "Warm worker"}
        if "warm" not in before:
            assert "prefect work-pool create warm --type warm" in up.output
        assert httpx.get(f"{up.url}/events").json()["events"] == []
        assert up.stop() == 0
        assert up.leftovers() == {}
    assert pools() == before


def test_nothing_outlives_an_up_that_is_killed(system: Up) -> None:
    """Even after SIGKILL, of which `up` gets no notice, everything that it started ends."""
    system.start("--no-sample")
    until(lambda: (system.data / "up.json").exists() and len(system.pids) >= 2, "its first processes")
    system.stop(signal.SIGKILL)
    until(lambda: not system.leftovers(), "the end of all processes", 20)
