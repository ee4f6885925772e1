"""`hookline replay`: what is said of a dry run, and how long an answer is waited for."""

from __future__ import annotations

import socket
import time

import pytest

from hookline.cli.client import Gateway, GatewayError
from hookline.cli.replay import begin, show
from hookline.cli.system import find_system


def test_a_dry_run_says_why_nothing_would_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Once for each trigger."""
    outcomes = [
        {"event": event, "type": "a.b", "trigger": "f/d/t", "starts": False, "dies": False, "reason": reason}
        for event, reason in (("1", "where is false"), ("2", "where is false"))
    ]
    counts = {"would_start": {}, "would_die": {}, "without_match": 2, "without_body": 0}
    show({"dry_run": True, "events": 2, "complete": True, **counts, "outcomes": outcomes}, json=False)
    told = capsys.readouterr().out
    assert "2  match no current trigger" in told
    assert told.count("f/d/t: where is false") == 1


@pytest.mark.parametrize("dry_run", [None, True])
def test_a_gateway_that_never_answers_is_given_up_in_its_time(
    dry_run: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a dry run of very many events may take minutes, and only where somebody is there."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        monkeypatch.setenv("HOOKLINE_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
        began = time.monotonic()
        with (
            Gateway(find_system(), timeout_seconds=0.1) as gateway,
            pytest.raises(GatewayError, match="does not answer in time"),
        ):
            begin(gateway, "/dead/replay", {"dry_run": dry_run}, background=False, json=False)
        assert time.monotonic() - began < 5
