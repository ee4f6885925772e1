"""Where an entrypoint leads, looked up without running any of the user's code."""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hookline.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """What an entrypoint leads to.

    Parameters
    ----------
    fault: why it leads nowhere, or None.
    flow: the flow's name as far as its source tells.
    """

    fault: str | None = None
    flow: str | None = None


def find_entrypoint(entrypoint: str, folder: Path) -> Entrypoint:
    """Look up `flows.module.function` or `path/file.py:function`.

    Parameters
    ----------
    entrypoint: as `prefect.yaml` has it.
    folder: the project's folder.
    """
    if ":" in entrypoint:
        written, _, name = entrypoint.rpartition(":")
        file = folder / written
        if not file.is_file():
            return Entrypoint(f"there is no file {written}{_files_like(file)}")
        return _in_file(file, written, name)
    module, _, name = entrypoint.rpartition(".")
    if not all(part.isidentifier() for part in entrypoint.split(".")) or not module:
        return Entrypoint("write it as `flows.module.function` or `path/file.py:function`")
    found = _find_module(module, folder)
    if isinstance(found, str):
        return Entrypoint(found)
    return _in_file(found, module, name) if found is not None else Entrypoint()


def _find_module(module: str, folder: Path) -> Path | str | None:
    """Return the file of a module, None where it has no source to look into, or why there is none."""
    # As Prefect does, the project's folder first.
    places: list[str] | None = [str(folder), *sys.path]
    spec = None
    for number, part in enumerate(parts := module.split("."), start=1):
        full = ".".join(parts[:number])
        spec = _spec(full, places)
        if spec is None:
            if parts[0] in sys.stdlib_module_names:
                # Such as `os.path`, which is no file of that name.
                return None
            modules = sorted(_modules_in(places if number > 1 else [str(folder)]))
            return f"there is no module {full}{did_you_mean(part, modules)}"
        places = list(spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _spec(module: str, places: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    found = importlib.machinery.PathFinder.find_spec(module, places)
    for finder in () if found else sys.meta_path:
        # Packages that are installed to be edited have a finder of their own.
        found = found or finder.find_spec(module, places if "." in module else None)
    return found


def _in_file(file: Path, shown: str, name: str) -> Entrypoint:
    try:
        tree = _parse(file, file.stat().st_mtime_ns)
    except SyntaxError as wrong:
        return Entrypoint(f"{shown} is no Python: line {wrong.lineno}: {wrong.msg}")
    except (OSError, ValueError, RecursionError):
        return Entrypoint(f"{shown} cannot be read")
    first = name.partition(".")[0]
    names = list(_names(tree.body))
    if first not in names and "*" not in names and "__getattr__" not in names:
        return Entrypoint(f"{shown} has no {first}{did_you_mean(first, names)}")
    return Entrypoint(flow=_flow_name(tree, name))


@lru_cache(maxsize=64)
def _parse(file: Path, changed: int) -> ast.Module:
    with warnings.catch_warnings():
        # About the user's code, and not for whoever checks its configuration.
        warnings.simplefilter("ignore")
        return ast.parse(file.read_bytes())


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """Yield what a module's body defines, in any branch of it, and `*` where that cannot be told."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
            continue
        for node in ast.walk(statement):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    yield node.name
                case ast.Import() | ast.ImportFrom():
                    yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
                case ast.Name(id=name, ctx=ast.Store()):
                    yield name
                case _:
                    pass


def _flow_name(tree: ast.Module, name: str) -> str | None:
    """Return the name of a flow that is defined at the top of a module, if its source says it plainly."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
            calls = [each for each in statement.decorator_list if isinstance(each, ast.Call)]
            for keyword in (keyword for call in calls for keyword in call.keywords if keyword.arg == "name"):
                value = keyword.value
                return (
                    value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
                )
            return name.replace("_", "-")
    return None


def _files_like(file: Path) -> str:
    try:
        there = [each for each in os.listdir(file.parent) if each.endswith(".py")]  # noqa: PTH208
    except OSError:
        return ""
    return did_you_mean(file.name, there)


def _modules_in(places: list[str] | None) -> Iterator[str]:
    for place in places or []:
        try:
            for each in os.scandir(place):
                if each.name.endswith(".py") or (each.is_dir() and each.name.isidentifier()):
                    yield each.name.removesuffix(".py")
        except OSError:
            continue
