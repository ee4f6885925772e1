"""Which of several forms whoever asks likes best: the `Accept` header (RFC 9110, 12.5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: A weight; anything else that stands after `q=` makes its range count for nothing.
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


@dataclass(frozen=True, slots=True)
class Accepted:
    """One range of an `Accept` header.

    Parameters
    ----------
    kind: such as `text/html`, `text/*` or `*/*`, in lower case.
    parameters: its parameters but the weight, in lower case.
    weight: from 0, not wanted, to 1.
    """

    kind: str
    parameters: Mapping[str, str]
    weight: float


def read_accept(header: str | None) -> list[Accepted]:
    """Return the ranges of an `Accept` header, in its order; whatever is sent, some come out."""
    return [_range(part) for part in (header or "").lower().split(",") if part.strip()]


def weight_of(accepted: list[Accepted], media_type: str, version: str | None = None) -> float:
    """Return how much a media type is wanted: what the narrowest range says that takes it in.

    Parameters
    ----------
    media_type: in lower case.
    version: a range that asks for another one is of something else.
    """
    group = media_type.partition("/")[0]
    for kind in (media_type, f"{group}/*", "*/*"):
        weights = [
            each.weight
            for each in accepted
            if each.kind == kind and each.parameters.get("version", version) == version
        ]
        if weights:
            return max(weights)
    return 0.0


def names(accepted: list[Accepted], media_type: str) -> bool:
    """Return whether a media type is named, and not only taken in by a wider range."""
    return any(each.kind == media_type for each in accepted)


def _range(written: str) -> Accepted:
    kind, *rest = (part.strip() for part in written.split(";"))
    parameters: dict[str, str] = {}
    for part in rest:
        name, _, value = part.partition("=")
        parameters[name.strip()] = value.strip().strip('"')
    weight = parameters.pop("q", "1")
    return Accepted(kind, parameters, float(weight) if _WEIGHT.fullmatch(weight) else 0.0)
