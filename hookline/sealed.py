"""What a sender wrote, sealed for its way through Prefect's parameters. Pure.

Prefect interprets parameters wherever they pass: `__prefect_kind` when a run is created, `$ref` (a reference
to a block, secrets included) when its flow is called. Data that holds any of that travels as text, in a
reference that Prefect itself refuses to follow: where nobody opens it, the run fails before its flow starts.
`hookline.opening` opens it where the flow runs. See docs/decisions/0009-sealed-parameters.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

#: The key by which Prefect knows a reference to a block.
REFERENCE = "$ref"
#: The key by which Prefect knows what to fill in.
KIND = "__prefect_kind"

_SEALED = "hookline_data"
_KEY = f'"{_SEALED}"'.encode()
#: Ends up in the log of a run that cannot open it.
_NOTE = (
    "Data of an event that Prefect would interpret. Hookline opens it where the flow runs: install it there "
    "(docs/flows.md, What a sender may write)."
)
#: Written data without any of these holds nothing that Prefect would interpret or lose: PostgreSQL, under its
#: server, has no U+0000.
_SIGNS = (f'"{REFERENCE}"'.encode(), f'"{KIND}"'.encode(), rb"\u0000", _KEY)


def seal(value: Any) -> Any:
    """Return JSON data as Prefect carries it: itself, or sealed where Prefect would interpret or lose some.

    Raises
    ------
    TypeError: it is not JSON.
    """
    written = orjson.dumps(value)
    if any(sign in written for sign in _SIGNS):
        return {REFERENCE: {_SEALED: written.decode(), "note": _NOTE}}
    return value


def holds_sealed(written: bytes) -> bool:
    """Return whether something is sealed in written JSON; what looks so is sealed itself."""
    return _KEY in written


def is_sealed(value: Any) -> bool:
    """Return whether something in a value is sealed."""
    match value:
        case dict():
            return _text_of(value) is not None or any(map(is_sealed, value.values()))
        case list():
            return any(map(is_sealed, value))
        case _:
            return False


def opened(value: Any, wrap: Callable[[Any], Any] = lambda data: data) -> Any:
    """Return a value with what is sealed in it as it was.

    Parameters
    ----------
    wrap: is given each piece of data that was sealed; what it returns takes the place of the data.

    Raises
    ------
    ValueError: what is sealed is not JSON.
    """
    match value:
        case dict():
            text = _text_of(value)
            if text is not None:
                return wrap(orjson.loads(text))
            return {key: opened(part, wrap) for key, part in value.items()}
        case list():
            return [opened(part, wrap) for part in value]
        case _:
            return value


def _text_of(value: dict[Any, Any]) -> str | None:
    match value:
        case {"$ref": {"hookline_data": str() as text}} if len(value) == 1:
            return text
        case _:
            return None
