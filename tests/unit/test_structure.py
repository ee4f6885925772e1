"""The walls of the project: who may import what, where SQL may stand, how long a module may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.up import REPOSITORY

ENGINE = REPOSITORY / "hookline"
#: `hookline init` lays these out in a user's folder; they are not part of the engine.
TEMPLATE = ENGINE / "cli" / "new_project"
MODULES = [path for path in sorted(ENGINE.rglob("*.py")) if TEMPLATE not in path.parents]

#: What of Prefect talks to its server. Its grammar, schemas and helpers may be used elsewhere too.
PREFECT_CLIENTS = (
    "prefect.client",
    "prefect.events.clients",
    "prefect.events.get_events",
    "prefect.get_client",
)
#: Who may speak SQL: the inbox, and lineage's own store.
SQL_HOMES = (ENGINE / "inbox", ENGINE / "lineage")
SQL = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE .+ SET|DELETE FROM|CREATE TABLE|PRAGMA )", re.DOTALL)

#: "About 400 lines."
LONGEST = 440
#: What is longer, and why that is right.
LONGER = {"hookline/prefect_api.py": "all that is asked of the Prefect server stands in one module, by rule"}
#: A package that does something on import, and why that is right.
DOING = {"hookline/__init__.py": "gives the event its way to load a claim, so that event.py does no I/O"}


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a module imports, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
            yield node.value


def within(path: Path, *homes: Path) -> bool:
    return any(home == path or home in path.parents for home in homes)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_engine_knows_no_flow(path: Path) -> None:
    """`hookline` never imports `flows` or `tasks`: it knows a flow only by its deployment's name."""
    assert [found for found in imports(path) if found.split(".")[0] in ("flows", "tasks", "tests")] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_one_module_is_prefects_client(path: Path) -> None:
    """Only `prefect_api.py`, `prefect_events.py` and the worker are clients of the Prefect server."""
    if within(path, *CLIENT_HOMES):
        return
    assert [found for found in imports(path) if found.startswith(PREFECT_CLIENTS)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_sql_stands_in_the_stores_alone(path: Path) -> None:
    """Only the inbox and lineage's store import SQLAlchemy or hold SQL."""
    if within(path, *SQL_HOMES):
        return
    assert [
        found for found in imports(path) if found.split(".")[0] in ("sqlalchemy", "sqlite3", "alembic")
    ] == []
    assert [text for text in texts(path) if SQL.search(text)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_an_init_only_exports(path: Path) -> None:
    """A package's `__init__` holds imports and `__all__`, nothing that does something."""
    if path.name != "__init__.py" or name(path) in DOING:
        return
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        exported = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert docstring or exported or isinstance(node, ast.Import | ast.ImportFrom), ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    """No module is longer than about 400 lines unless it is listed here with the reason."""
    length = len(path.read_text().splitlines())
    assert length <= LONGEST or name(path) in LONGER, f"{name(path)} has {length} lines; part it by concept"
