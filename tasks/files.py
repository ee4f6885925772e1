"""Files on this machine: reading one that an event names, and checking CSV and NDJSON line by line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.resources import Fetched, Resource

#: Columns beginning like this are ours.
RESERVED_PREFIX = "_"

MOST_COLUMNS = 2_000


class InvalidFile(ValueError):
    """The file is not what it should be; says where."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a valid file holds.

    Parameters
    ----------
    path: where it lies on this machine.
    format, delimiter: how it is to be read.
    columns: their names, in order of appearance.
    rows: how many there are.
    """

    path: str
    format: Literal["csv", "ndjson"]
    delimiter: str
    columns: tuple[str, ...]
    rows: int


@task(name="validate", cache_policy=NO_CACHE)
def validate(resource: Resource, fetched: Fetched) -> Contents:
    """Check each line of a fetched file.

    Parameters
    ----------
    resource: says how to read it: CSV (RFC 4180 with a header line) or NDJSON (an object a line), in UTF-8.
    fetched: the file.

    Raises
    ------
    InvalidFile: names the line and what is wrong with it.
    """
    with Path(fetched.path).open("rb") as file:
        lines = _decoded(file)
        columns, rows = (
            _check_csv(lines, resource.delimiter) if resource.format == "csv" else _check_ndjson(lines)
        )
    return Contents(fetched.path, resource.format, resource.delimiter, columns, rows)


def read_local(url: str, folders: Iterable[Path]) -> Iterator[bytes]:
    """Yield the bytes of the file at a file address.

    Parameters
    ----------
    url: a `file:` address with an absolute path.
    folders: where the file may lie; links are followed before this is checked.

    Raises
    ------
    PermissionError: the file lies in none of the folders.
    FileNotFoundError: there is no such file.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path)).resolve()
    if parts.netloc not in ("", "localhost") or not any(
        path.is_relative_to(folder.resolve()) for folder in folders
    ):
        raise PermissionError(
            f"{path.name} lies in no folder that files may be read from; TASKS_FOLDERS names those."
        )
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _decoded(file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as wrong:
            raise InvalidFile(f"line {number}: not UTF-8 at byte {wrong.start + 1}") from None


def _check_csv(lines: Iterator[str], delimiter: str) -> tuple[tuple[str, ...], int]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows = 0
    begins = 1  # a quoted field may hold line ends, so a row may begin above the line it ends on
    try:
        header = next(reader, None)
        if header is None:
            raise InvalidFile("line 1: the file is empty; a header line is needed")
        columns = _names(header, begins)
        begins = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(columns):
                raise InvalidFile(f"line {begins}: {len(row)} fields where the header has {len(columns)}")
            # DuckDB reads a blank line as a null where there is one column, and skips it elsewhere.
            rows += bool(row) or len(columns) == 1
            begins = reader.line_num + 1
    except csv.Error as wrong:
        raise InvalidFile(f"line {begins}: {wrong}") from None
    return columns, rows


def _check_ndjson(lines: Iterator[str]) -> tuple[tuple[str, ...], int]:
    columns: dict[str, None] = {}
    rows = 0
    number = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as wrong:
            raise InvalidFile(f"line {number}: not JSON: {wrong}") from None
        if not isinstance(row, dict):
            raise InvalidFile(f"line {number}: not a JSON object")
        if row.keys() - columns.keys():
            columns |= dict.fromkeys(row)
            _names(list(columns), number)
        rows += 1
    if not columns:
        raise InvalidFile("line 1: the file holds no object")
    return tuple(columns), rows


def _names(names: list[str], line: int) -> tuple[str, ...]:
    """Check column names, which DuckDB tells apart without regard to case."""
    seen: set[str] = set()
    for position, name in enumerate(names, 1):
        if not name.strip() or "\0" in name:
            raise InvalidFile(f"line {line}: column {position} has no name")
        if name.startswith(RESERVED_PREFIX):
            raise InvalidFile(f"line {line}: column {name!r} begins with {RESERVED_PREFIX!r}, which is ours")
        if name.casefold() in seen:
            raise InvalidFile(f"line {line}: column {name!r} comes twice")
        seen.add(name.casefold())
    if len(names) > MOST_COLUMNS:
        raise InvalidFile(f"line {line}: {len(names)} columns; {MOST_COLUMNS} are the most")
    return tuple(names)
