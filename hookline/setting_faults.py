"""What is wrong with the settings: in the environment, and in a `.env` with its line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from pydantic import ValidationError

from hookline.faults import Fault, Place
from hookline.nearest import nearest

ENVIRONMENT = "environment"
PREFIX = "HOOKLINE_"

# Kubernetes sets these in every pod for a service that is called `hookline`, or begins so.
_SERVICE_LINK = re.compile(r"HOOKLINE_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP)\w*)")


def unknown_settings(
    file: Path, environ: Mapping[str, str], known: Collection[str], used_by: Collection[Path]
) -> Iterator[Fault]:
    """Yield the variables that look like settings and are none: errors in the file, warnings elsewhere.

    Parameters
    ----------
    file: the `.env`, which need not exist.
    environ: the environment.
    known: the names of all settings.
    used_by: files that name variables of their own; what stands in one of them is no mistake.
    """
    seen: dict[str, int] = {}
    for binding in _bindings(file):
        line = binding.original.line + _blank_lines(binding.original.string)
        place = Place(line, 1)
        if binding.error:
            yield Fault(str(file), place, "is no line of the form NAME=value")
            continue
        name = (binding.key or "").upper()
        if not name.startswith(PREFIX):
            continue
        if name not in known and not _names(name, used_by):
            yield Fault(str(file), place, _unknown(name, known))
        elif name in seen:
            yield Fault(str(file), place, f"{name} is there twice, first in line {seen[name]}")
        seen[name] = line
    for variable in environ:
        name = variable.upper()
        ours = name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name)
        if ours and name not in known and not _names(name, used_by):
            yield Fault(ENVIRONMENT, None, _unknown(name, known), warning=True)


def invalid_settings(wrong: ValidationError, file: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Yield the settings whose value cannot be used, with the place that it comes from."""
    lines = {
        (binding.key or "").upper(): binding.original.line + _blank_lines(binding.original.string)
        for binding in _bindings(file)
    }
    there = {name.upper() for name in environ}
    for error in wrong.errors(include_input=False, include_url=False):
        name = PREFIX + "_".join(str(part) for part in error["loc"]).upper()
        message = f"{name}: {error['msg'].removeprefix('Value error, ')}"
        if name in lines and name not in there:
            yield Fault(str(file), Place(lines[name], 1), message)
        else:
            yield Fault(ENVIRONMENT, None, message)


def _unknown(name: str, known: Collection[str]) -> str:
    meant = nearest(name, known)
    return f"{name} is no setting; " + (
        f"did you mean {meant}?" if meant else "docs/operate.md has all of them"
    )


def _names(variable: str, files: Collection[Path]) -> bool:
    for file in files:
        try:
            if re.search(rf"\b{re.escape(variable)}\b", file.read_text(errors="replace")):
                return True
        except OSError:
            continue
    return False


def _bindings(file: Path) -> list[Binding]:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return [each for each in parse_stream(stream) if each.key is not None or each.error]
    except OSError:
        return []


def _blank_lines(text: str) -> int:
    # What stands before a line belongs to it: empty lines, and none of its own.
    return len(text[: len(text) - len(text.lstrip())].splitlines())
