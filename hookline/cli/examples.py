"""What `up` shows a newcomer: the project's sample event, and commands that are ready to be pasted."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import orjson

from hookline.errors import HooklineError
from hookline.event import now
from hookline.sources import Source
from hookline.sources.samples import make_sample, sign_sample

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


def github_curl(gateway: str, source: Source) -> str:
    """Return a curl command that delivers a push as GitHub does, signed with the source's secret."""
    at, address = now(), f"{gateway}/webhooks/{source.name}"
    push = make_sample(source, "push", at)
    headers = sign_sample(source, push, at, address)
    return _curl(address, [f"{name}: {value}" for name, value in headers.items()], push.body.decode())


def _curl(url: str, headers: list[str], body: str) -> str:
    parts = ["curl", "-i", url, *(part for header in headers for part in ("-H", header)), "-d", body]
    return shlex.join(parts)
