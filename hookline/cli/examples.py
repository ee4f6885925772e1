"""What `up` shows a newcomer: the project's sample event, and commands that are ready to be pasted."""

from __future__ import annotations

import hashlib
import hmac
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import orjson

from hookline.errors import HooklineError
from hookline.event import new_id

#: The folder that holds a project's sample: `event.json`, and files that the event refers to.
SAMPLE = Path("deployments/sample")
#: In `event.json`, the address of the folder to which those files are copied.
FILES = "{files}"
#: The key as a header, in double quotes, so that the key itself does not appear on the screen.
_KEY = ' -H "Authorization: Bearer $HOOKLINE_API_KEY"'


def prepare_sample(data: Path) -> dict[str, Any] | None:
    """Return the project's sample event, its files laid out in the data folder; None where it has none.

    Raises
    ------
    HooklineError: `event.json` is not a JSON object.
    """
    definition = SAMPLE / "event.json"
    if not definition.exists():
        return None
    files = data / "files"
    files.mkdir(parents=True, exist_ok=True)
    for path in SAMPLE.iterdir():
        if path != definition and path.is_file():
            shutil.copyfile(path, files / path.name)
    text = definition.read_text().replace(FILES, files.absolute().as_uri())
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        raise HooklineError(f"{definition} is not JSON: {wrong}.") from None
    if not isinstance(event, dict) or "type" not in event:
        raise HooklineError(f"{definition} is no event: give it at least a `type`.")
    return event


def event_curl(gateway: str, event: dict[str, Any], *, key_wanted: bool) -> str:
    """Return a curl command that sends an event.

    Parameters
    ----------
    key_wanted: the gateway asks for an API key, which the shell is to take from HOOKLINE_API_KEY.
    """
    headers = ["Content-Type: application/json"]
    command = _curl(f"{gateway}/events", headers, orjson.dumps(event).decode())
    return command + _KEY if key_wanted else command


def tracking_curl(gateway: str, event_id: str, *, key_wanted: bool) -> str:
    """Return a curl command that waits for what becomes of an event."""
    command = shlex.join(["curl", f"{gateway}/events/{event_id}?wait=30"])
    return command + _KEY if key_wanted else command


def enter_command(data: Path) -> str:
    """Return the command that makes a shell, wherever it stands, work with the system of a data folder.

    Parameters
    ----------
    data: the data folder, an absolute path.
    """
    hookline = shlex.quote(str(Path(sys.executable).parent / "hookline"))
    elsewhere = "" if data == Path.cwd() / ".hookline" else f"HOOKLINE_DATA={shlex.quote(str(data))} "
    return f'cd {shlex.quote(str(Path.cwd()))} && eval "$({elsewhere}{hookline} env)"'


def github_curl(gateway: str, secret: str) -> str:
    """Return a curl command that delivers a push as GitHub does, signed with the secret."""
    body = orjson.dumps(github_push()).decode()
    signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    headers = [
        "Content-Type: application/json",
        "X-GitHub-Event: push",
        f"X-GitHub-Delivery: {new_id()}",
        f"X-Hub-Signature-256: sha256={signature}",
    ]
    return _curl(f"{gateway}/webhooks/github", headers, body)


def github_push() -> dict[str, Any]:
    """Return a push of one commit, in the shape of GitHub's documentation, without what is seldom used."""
    head, before = "a" * 39 + "1", "b" * 39 + "2"
    commit = {
        "id": head,
        "message": "Add the harbour list",
        "timestamp": "2026-11-24T03:00:00+01:00",
        "url": f"https://github.com/acme/shop/commit/{head}",
        "author": {"name": "Ada Example", "email": "ada@example.com", "username": "ada"},
        "added": ["harbours.csv"],
        "removed": [],
        "modified": [],
    }
    return {
        "ref": "refs/heads/main",
        "before": before,
        "after": head,
        "repository": {"id": 1296269, "name": "shop", "full_name": "acme/shop", "default_branch": "main"},
        "pusher": {"name": "ada", "email": "ada@example.com"},
        "commits": [commit],
    }


def _curl(url: str, headers: list[str], body: str) -> str:
    parts = ["curl", "-i", url, *(part for header in headers for part in ("-H", header)), "-d", body]
    return shlex.join(parts)
