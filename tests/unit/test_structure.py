"""The walls of the project: who may import what, where SQL may stand, how long a module may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.up import REPOSITORY

ENGINE = REPOSITORY / "hookline"
#: `hookline init` lays these out in a user's folder; they are not part of the engine.
TEMPLATE = ENGINE / "cli" / "new_project"
MODULES = [path for path in sorted(ENGINE.rglob("*.py")) if TEMPLATE not in path.parents]

#: What of Prefect talks to its server. Its grammar, schemas and helpers may be used elsewhere too.
PREFECT_CLIENTS = ("prefect.client", "prefect.events.clients", "prefect.get_client")
#: Who may: requests, the event stream, and the worker, which Prefect makes its own client.
CLIENT_HOMES = (ENGINE / "prefect_api.py", ENGINE / "prefect_events.py", ENGINE / "worker")
#: Who may speak SQL: the inbox, and lineage's own store.
SQL_HOMES = (ENGINE / "inbox", ENGINE / "lineage")
#: Holds no SQL either: it changes how the Prefect server that `up` starts makes and passes on its own.
ADAPTER = ENGINE / "prefect_server"
SQL = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE .+ SET|DELETE FROM|CREATE TABLE|PRAGMA )", re.DOTALL)

#: "About 400 lines."
LONGEST = 440
#: What is longer, and why that is right.
LONGER = {"hookline/prefect_api.py": "all that is asked of the Prefect server stands in one module, by rule"}
#: A package that does something on import, and why that is right.
DOING = {
    "hookline/__init__.py": "gives the event its way to load a claim, and Prefect's flows theirs to data"
}


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


def test_the_engine_knows_no_flow() -> None:
    """`hookline` never imports `flows` or `tasks`: it knows a flow only by its deployment's name."""
    assert importing(MODULES, "flows", "tasks", "tests") == {}


def test_who_is_prefects_client() -> None:
    """Only `prefect_api.py`, `prefect_events.py` and the worker are clients of the Prefect server."""
    assert importing(outside(*CLIENT_HOMES), *PREFECT_CLIENTS) == {}


def test_sql_stands_in_the_stores_alone() -> None:
    """Only the inbox and lineage's store import a database or hold SQL."""
    importers = outside(*SQL_HOMES, ADAPTER)
    assert importing(importers, "sqlalchemy", "alembic", "sqlite3", "psycopg") == {}
    others = outside(*SQL_HOMES)
    assert {name(path): found for path in others if (found := list(filter(SQL.search, texts(path))))} == {}


def test_an_init_only_exports() -> None:
    """A package's `__init__` holds imports and `__all__`, nothing that does something."""
    doing = {
        name(path): ast.unparse(node)
        for path in MODULES
        if path.name == "__init__.py" and name(path) not in DOING
        for node in ast.parse(path.read_text()).body
        if not exports(node)
    }
    assert doing == {}


def test_a_module_can_be_read_in_one_sitting() -> None:
    """No module is longer than about 400 lines, unless it is named above with the reason."""
    lengths = {name(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST and path not in LONGER} == {}


def outside(*homes: Path) -> list[Path]:
    """Return the modules that lie in none of these places."""
    return [path for path in MODULES if not any(home == path or home in path.parents for home in homes)]


def importing(paths: list[Path], *forbidden: str) -> dict[str, list[str]]:
    """Return what these modules import of forbidden packages."""
    prefixes = tuple(f"{package}." for package in forbidden)
    found = {
        name(path): [each for each in imports(path) if f"{each}.".startswith(prefixes)] for path in paths
    }
    return {path: names for path, names in found.items() if names}


def exports(node: ast.stmt) -> bool:
    """Return whether a statement only imports, exports or describes."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__"
    described = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return described or isinstance(node, ast.Import | ast.ImportFrom)
