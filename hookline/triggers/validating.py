"""A part of `prefect.yaml` held against the model of what may stand there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from hookline.nearest import nearest

#: What YAML calls it, where pydantic speaks of Python.
_WORDS = {
    "set_type": "write it as a list",
    "list_type": "write it as a list",
    "dict_type": "write it as a mapping",
    "model_type": "write it as a mapping",
    "missing": "it is required",
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that does not fit.

    Parameters
    ----------
    path: where, from the part that was looked at.
    reason: why, beginning with the key.
    of_key: it is the key that is wrong, and not its value.
    """

    path: tuple[str | int, ...]
    reason: str
    of_key: bool = False


def validate(
    raw: Mapping[str, Any],
    model: type[BaseModel],
    what: str,
    *,
    ours: Collection[str] = (),
    templates: bool = True,
) -> Iterator[Wrong]:
    """Yield what does not fit.

    Parameters
    ----------
    raw: the part, as YAML gives it. Keys that begin with `x-` are the user's.
    model: what may stand there.
    what: what it is, for messages: `a trigger`.
    ours: further keys, which somebody else looks at.
    templates: a value that Prefect is going to fill in may be of any kind.
    """
    checked = {key: value for key, value in raw.items() if key not in ours and not is_users(key)}
    try:
        model.model_validate(checked)
    except ValidationError as wrong:
        seen: set[Any] = set()
        for error in wrong.errors(include_url=False, include_input=False):
            path = error["loc"]
            if error["type"] in ("extra_forbidden", "invalid_key"):
                yield Wrong(path, _unknown(path, model, what, ours), of_key=True)
                continue
            known = _known_part(raw, path)
            # A value that may be of several kinds is wrong in as many ways; one says enough.
            if known in seen or (templates and has_template(_value(raw, known))):
                continue
            seen.add(known)
            reason = _WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
            name = ".".join(str(part) for part in (path if error["type"] == "missing" else known))
            yield Wrong(known, f"{name}: {reason}" if name else reason)


def is_users(key: object) -> bool:
    """Return whether a key is the user's own: for notes and anchors."""
    return str(key).startswith("x-")


def has_template(value: Any) -> bool:
    """Return whether a template stands anywhere in a value."""
    match value:
        case str():
            return "{{" in value
        case Mapping():
            return any(has_template(part) for part in value.values())
        case list():
            return any(has_template(part) for part in value)
        case _:
            return False


def _unknown(path: tuple[str | int, ...], model: type[BaseModel], what: str, ours: Collection[str]) -> str:
    *outer, key = path
    fields = model.model_fields
    for part in outer:
        if part in fields and (inner := _model_within(fields[str(part)].annotation)) is not None:
            fields, what, ours = inner.model_fields, f"`{part}`", ()
    known = [*(field.alias or name for name, field in fields.items()), *ours]
    meant = nearest(str(key), known)
    hint = f"did you mean `{meant}`?" if meant else f"there are {', '.join(known)}"
    return f"`{key}` is no key of {what}; {hint}"


def _model_within(annotation: Any) -> type[BaseModel] | None:
    candidates = getattr(annotation, "__args__", (annotation,))
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _known_part(raw: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return as much of the path as leads somewhere: pydantic adds the names of the kinds it tried."""
    for length, step in enumerate(path):
        try:
            raw = raw[step]
        except (LookupError, TypeError):
            return path[:length]
    return path


def _value(raw: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        raw = raw[step]
    return raw
