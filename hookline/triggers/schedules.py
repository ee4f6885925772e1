"""The schedules of a deployment: cron, interval and rrule, judged as Prefect judges them, without Prefect."""

from __future__ import annotations

import importlib
import importlib.util
import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

#: As for Prefect.
MAX_RRULE_LENGTH = 6500


def schedule_faults(schedule: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong with a schedule: the key, None for the whole, and the reason."""
    kinds = [key for key in ("cron", "interval", "rrule") if schedule.get(key) is not None]
    if len(kinds) != 1:
        yield None, "a schedule has exactly one of `cron`, `interval` and `rrule`"
    for key, check in (
        ("cron", _cron),
        ("rrule", _rrule),
        ("timezone", _timezone),
        ("anchor_date", _time),
    ):
        value = schedule.get(key)
        if isinstance(value, str) and "{{" not in value and (reason := check(value)):
            yield key, reason


def _cron(text: str) -> str | None:
    if not _croniter().is_valid(text):
        return f"{text!r} is no cron expression; it has five fields: minute hour day month weekday"
    if any(field.casefold() in ("r", "h") for field in text.split()):
        return "Prefect takes no random (`R`) or hashed (`H`) fields"
    return None


def _rrule(text: str) -> str | None:
    if text.lstrip().startswith("{"):
        # Prefect's JSON form of a whole schedule.
        return None
    if len(text) > MAX_RRULE_LENGTH:
        return f"an rrule has at most {MAX_RRULE_LENGTH} characters"
    # Few projects have one.
    rules: Any = importlib.import_module("dateutil.rrule")
    try:
        rules.rrulestr(text, cache=True)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as wrong:
        return f"no rrule: {wrong}"
    return None


def _time(text: str) -> str | None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        # Prefect takes other forms too; few projects have one.
        parser: Any = importlib.import_module("dateutil.parser")
        try:
            parser.parse(text)
        except (ValueError, OverflowError):
            return f"{text!r} is no time; write it as 2026-01-01T00:00:00Z"
    return None


def _timezone(name: str) -> str | None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return f"there is no time zone {name!r}; write it as Europe/Berlin"
    return None


@cache
def _croniter() -> Any:
    """Return the cron parser that Prefect brings along, from its file: Prefect itself is not imported."""
    prefect = importlib.util.find_spec("prefect")
    if prefect is None or not prefect.submodule_search_locations:
        raise ModuleNotFoundError("prefect")
    file = Path(prefect.submodule_search_locations[0]) / "_vendor" / "croniter" / "croniter.py"
    spec = importlib.util.spec_from_file_location("hookline.triggers._croniter", file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(str(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.croniter
