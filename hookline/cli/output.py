"""What commands print: tables and colours on a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from cyclopts import Parameter
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

#: The `--json` of every command that lists or shows.
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead.")]

STYLES = {
    "accepted": "cyan", "pending": "yellow", "held": "yellow", "dispatched": "green", "started": "green",
    "ignored": "dim", "filtered": "dim", "merged": "dim", "dead": "bold red", "duplicate": "dim",
    "COMPLETED": "green", "RUNNING": "blue", "PENDING": "yellow", "SCHEDULED": "yellow", "PAUSED": "yellow",
    "FAILED": "bold red", "CRASHED": "bold red", "CANCELLED": "red", "CANCELLING": "red",
}  # fmt: skip


#: All control characters but the line feed and the tabulator.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

_verbose = False


def be_verbose() -> None:
    """Let `note` print from now on: `--verbose` was given."""
    global _verbose
    _verbose = True


def note(line: str) -> None:
    """Print, beside the results, what only `--verbose` asks for."""
    if _verbose:
        print(f"hookline: {line}", file=sys.stderr)


def harmless(text: str) -> str:
    """Return a text without what a terminal would obey: senders choose much of what is printed."""
    return text.translate(_CONTROLS)


class _Console(Console):
    """A console that shows control characters of a text instead of sending them to the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render something, harmlessly."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


def console() -> Console:
    """Return the console for results; in a pipe, where no width is known, nothing is wrapped or cut."""
    return _Console(
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        width=None if sys.stdout.isatty() else 10_000,
    )


def print_json(document: Any) -> None:
    """Print a document as indented JSON."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows under headings; on a terminal that is too narrow the cells wrap."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table, soft_wrap=False)


def status(word: str) -> Text:
    """Return a status or state in its colour."""
    return Text(word, style=STYLES.get(word, ""))


def moment(text: str | None) -> datetime | None:
    """Read a time of the gateway's documents."""
    return None if text is None else datetime.fromisoformat(text)


def clock(text: str | None) -> str:
    """Render a time of the gateway's documents in local time, to the millisecond, for people."""
    when = moment(text)
    return "" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def duration(length: timedelta) -> str:
    """Render a duration in the unit that suits its size: `38 ms`, `2.4 s`, `3 min 05 s`."""
    seconds = length.total_seconds()
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def between(start: str | None, end: str | None) -> timedelta | None:
    """Return how long it was from one time of a document to another, or None where one is missing."""
    first, last = moment(start), moment(end)
    return None if first is None or last is None else last - first


def since(text: str) -> datetime:
    """Read a point in time that a person gave: RFC 3339, or an age such as `90s`, `15m`, `2h`, `7d`.

    Raises
    ------
    ValueError: it is neither.
    """
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    if unit in units and number.isdecimal():
        return datetime.now(UTC) - timedelta(**{units[unit]: int(number)})
    when = datetime.fromisoformat(text)
    return when if when.tzinfo is not None else when.astimezone()
