"""Checking CSV and NDJSON line by line: the error names the line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from tasks.files import Contents, InvalidFile, read_local, validate
from tasks.resources import Fetched, Resource


def check(
    folder: Path, content: bytes, format: Literal["csv", "ndjson"] = "csv", delimiter: str = ","
) -> Contents:
    path = folder / f"file.{format}"
    path.write_bytes(content)
    resource = Resource(url=path.as_uri(), format=format, delimiter=delimiter)
    return validate.fn(resource, Fetched(str(path), resource.name, len(content), "", datetime.now(UTC)))


def test_a_csv_file_has_the_columns_of_its_header(tmp_path: Path) -> None:
    """A byte order mark, quoted line ends and a blank last line are fine."""
    contents = check(tmp_path, b'\xef\xbb\xbfid,"the name"\r\n1,"two\r\nlines"\r\n2,\r\n\r\n')
    assert contents.columns == ("id", "the name")
    assert contents.rows == 2


def test_fields_may_be_parted_by_something_else(tmp_path: Path) -> None:
    assert check(tmp_path, b"id;name\n1;a,b\n", delimiter=";").columns == ("id", "name")


def test_an_ndjson_file_has_the_columns_of_all_its_objects(tmp_path: Path) -> None:
    contents = check(tmp_path, b'{"id": 1}\n\n{"id": 2, "name": "x"}\n', "ndjson")
    assert contents.columns == ("id", "name")
    assert contents.rows == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: the file is empty"),
        (b"id,name\n1,a\n2\n", "line 3: 1 fields where the header has 2"),
        (b'id,name\n1,"a\nb"\n2,b,c\n', "line 4: 3 fields"),
        (b'id,name\n1,"open\n2,b\n', "line 2: unexpected end of data"),
        (b"id,name\n1,\xff\n", "line 2: not UTF-8 at byte 3"),
        (b"id,,name\n", "line 1: column 2 has no name"),
        (b"id,ID\n", "line 1: column 'ID' comes twice"),
        (b"id,_resource\n", "line 1: column '_resource' begins with '_'"),
    ],
)
def test_a_broken_csv_file_is_refused_with_the_line(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InvalidFile, match=says.replace("(", r"\(")):
        check(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: the file holds no object"),
        (b'{"id": 1}\n[2]\n', "line 2: not a JSON object"),
        (b'{"id": 1}\n{"id": \n', "line 2: not JSON"),
        (b'{"id": 1}\n{"Id": 2}\n', "line 2: column 'Id' comes twice"),
    ],
)
def test_a_broken_ndjson_file_is_refused_with_the_line(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InvalidFile, match=says):
        check(tmp_path, content, "ndjson")


def test_only_files_in_allowed_folders_are_read(tmp_path: Path) -> None:
    """Not by a path that leads out of them, not by a link, not from another host."""
    allowed, secret = tmp_path / "allowed", tmp_path / "secret.csv"
    allowed.mkdir()
    secret.write_bytes(b"secret")
    (allowed / "link.csv").symlink_to(secret)
    (allowed / "a b.csv").write_bytes(b"open")
    assert b"".join(read_local((allowed / "a b.csv").as_uri(), [allowed])) == b"open"
    for url in (
        secret.as_uri(),
        f"file://{allowed}/../secret.csv",
        f"file://{allowed}/%2e%2e/secret.csv",
        f"file://{allowed}/link.csv",
        f"file://elsewhere{allowed}/a%20b.csv",
        "file:///proc/self/environ",
    ):
        with pytest.raises(PermissionError, match="TASKS_FOLDERS"):
            list(read_local(url, [allowed]))


@pytest.mark.parametrize(
    ("url", "table", "format", "delimiter", "name"),
    [
        ("https://u:p@Files.example/in/Orders-2024.csv?sig=s3cr3t#x", "orders_2024", "csv", ",",
         "https://files.example/in/Orders-2024.csv"),
        ("file:///data/7%20days.JSONL", "t_7_20days", "ndjson", ",", "file:///data/7%20days.JSONL"),
        ("https://files.example/a.tsv", "a", "csv", "\t", "https://files.example/a.tsv"),
        ("https://files.example/", "t_", "csv", ",", "https://files.example/"),
    ],
)  # fmt: skip
def test_a_resource_is_known_by_its_address_without_secrets(
    url: str, table: str, format: str, delimiter: str, name: str
) -> None:
    """Table, format and delimiter come from the file's name where the event does not give them."""
    resource = Resource.model_validate({"url": url, "table": None})
    assert (resource.table, resource.format, resource.delimiter, resource.name) == (
        table,
        format,
        delimiter,
        name,
    )


@pytest.mark.parametrize(
    "data",
    [
        None, [], "x", {}, {"url": 7}, {"url": "gopher://x/"}, {"url": "x.csv"},
        {"url": "file:///x.csv", "table": 'x"; DROP TABLE loads; --'},
        {"url": "file:///x.csv", "table": "raw.x"},
        {"url": "file:///x.csv", "sha256": "abc"},
        {"url": "file:///x.csv", "format": "xlsx"},
        {"url": "file:///x.csv", "delimiter": "||"},
    ],
)  # fmt: skip
def test_what_is_no_resource_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="Resource"):
        Resource.model_validate(data)
