"""The commands and where they live; `main` runs one and turns errors into a line and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App

from hookline.errors import HooklineError

#: Every command: its name, where it is, and its line in the overview. This is the one place that keeps
#: `hookline --help` quick: a command's module, and all that it imports, is loaded only when it is used.
COMMANDS = (
    ("up", "hookline.cli.up:up", "Start a Prefect server, the gateway and a warm worker, and stay up."),
    ("init", "hookline.cli.init:init", "Create a small project in an empty folder."),
    ("check", "hookline.cli.check:check", "Check prefect.yaml, the sources and the settings, offline."),
    (
        "deploy",
        "hookline.cli.deploy:deploy",
        "Deploy the flows of prefect.yaml and put their triggers in force.",
    ),
    (
        "env",
        "hookline.cli.env:env",
        "Print the variables of the system in this folder, for a shell to evaluate.",
    ),
    ("send", "hookline.cli.send:send", "Send an event and print its tracking id."),
    ("events", "hookline.cli.events:app", "List events and show one."),
    (
        "trace",
        "hookline.cli.trace:trace",
        "Show what led to an event, run or asset, and what followed from it.",
    ),
    ("impact", "hookline.cli.impact:impact", "List every run and asset downstream of an event."),
    ("replay", "hookline.cli.replay:replay", "Replay one event, or all events matching a search."),
    ("dead", "hookline.cli.dead:app", "List dead letters and replay them."),
    ("erase", "hookline.cli.erase:erase", "Erase what senders wrote in some events."),
    ("audit", "hookline.cli.audit:audit", "Verify that every event is accounted for and has its runs."),
    ("doctor", "hookline.cli.doctor:doctor", "Check everything that events depend on."),
    ("rejections", "hookline.cli.rejections:rejections", "List rejected requests, with the reason."),
    (
        "sources",
        "hookline.cli.sources:app",
        "List, reload and test sources, show or rotate a secret.",
    ),
    ("gateway", "hookline.cli.serve:gateway", "Run the gateway: the HTTP front door and the dispatcher."),
    ("worker", "hookline.cli.serve:worker", "Run a warm worker."),
)


def build(tokens: Sequence[str] = ()) -> App:
    """Return the application.

    Parameters
    ----------
    tokens: the arguments it is going to get; the command that they name shows its own long help.
    """
    app = App(
        name="hookline",
        help="The event front door for self-hosted Prefect.\n\nCommands are about the system that runs in the"
        " folder you stand in; with --verbose each says which one that is.",
        version=lambda: version("hookline"),
        help_format="plaintext",
        result_action="return_value",
    )
    for number, (name, path, summary) in enumerate(COMMANDS):
        shown = None if tokens[:1] == [name] else summary
        app.command(path, name=name, help=shown, sort_key=number)
    return app


def _without_verbose(tokens: list[str]) -> list[str]:
    """Take `--verbose`, which every command has, out of the arguments."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    if "--verbose" not in tokens[:end]:
        return tokens
    # Imported here because the overview loads nothing that a command needs.
    from hookline.cli.output import be_verbose

    be_verbose()
    return [token for token in tokens[:end] if token != "--verbose"] + tokens[end:]  # noqa: S105 (no password)


def main() -> None:
    """Run the command line and exit: 0 when it worked, 1 on an error, 2 on bad usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A text that the terminal cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        result = _result()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; there is nobody left to tell.
        _forget_output()
        sys.exit(0)
    except OSError as failed:
        _forget_output()
        place = f"{failed.filename}: " if failed.filename else ""
        _complain(f"{place}{failed.strerror or failed}.")
        sys.exit(1)
    sys.exit(result)


def _result() -> int:
    tokens = _without_verbose(sys.argv[1:])
    try:
        result = build(tokens)(tokens)
    except HooklineError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            # Made by rich, with an exit code of an error.
            raise ended.__context__ from None
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return result if isinstance(result, int) else 0


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):
        print(f"hookline: {message}", file=sys.stderr)


def _forget_output() -> None:
    """Let the interpreter's end find nothing wrong with what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
