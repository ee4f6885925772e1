"""How an operation of the API describes itself: the words of which `/openapi.json` is made. Pure data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hookline.gateway.access import Scope
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.sources import Reply

Answer = Callable[[House, Exchange], Awaitable[Reply]]

#: A JSON Schema, or the name of one in `schemas.py`.
Shape = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request.

    Parameters
    ----------
    name: its name.
    says: what it is for.
    schema: the JSON Schema of its value.
    place: `query`, `path` or `header`.
    required: it has to be there.
    """

    name: str
    says: str
    schema: Shape
    place: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that an operation gives when all is well.

    Parameters
    ----------
    says: what it means.
    schema: of its body; None for one without.
    media_type: of its body.
    headers: names of headers that are described in `schemas.py`.
    also: further media types that whoever asks may prefer.
    """

    says: str
    schema: Shape | None = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What an operation does, takes and gives.

    Parameters
    ----------
    name: unique, in camel case; what generated clients call it.
    summary: one line.
    says: more, in Markdown.
    tag: the group that it is shown in.
    scope: what an API key has to allow; None where no key is asked for.
    parameters: those of path, query and headers.
    bodies: media type -> schema of the request's body.
    body_required: there has to be one.
    answers: HTTP status -> what it means.
    refusals: HTTP statuses of problems, beside those that every operation may give.
    """

    name: str
    summary: str
    tag: str
    says: str = ""
    scope: Scope | None = None
    parameters: tuple[Parameter, ...] = ()
    bodies: Mapping[str, Shape] = field(default_factory=dict)
    body_required: bool = True
    answers: Mapping[int, Answered] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a path.

    Parameters
    ----------
    method: in upper case; GET answers HEAD as well.
    path: `{name}` is one part of it, `{name*}` all the rest.
    answer: gives the answer.
    operation: its description; None for a page, which is for people.
    """

    method: str
    path: str
    answer: Answer
    operation: Operation | None = None
