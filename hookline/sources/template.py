"""Templates over a request: compiled once, rendered many times. Pure.

A template is text with places in braces: `{header.X-Event}`, `{query.name}`, `{data.order.id}`,
`{data./json/pointer}`, `{method}`, `{path}`, `{url}`, `{rate}`. `{a|b|'word'}` takes the first that is
there. Two braces stand for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from hookline.knock import Knock

#: A finder returns what a place stands for, or None.
Finder = Callable[["Visit"], Any]


class Visit(Protocol):
    """What a template may look at while one request is handled."""

    knock: Knock
    rate: str

    @property
    def data(self) -> Any:
        """The parsed body, or the element of it that is being mapped."""

    @property
    def url(self) -> str:
        """The address that the sender signed."""

    @property
    def timestamp(self) -> str | None:
        """The timestamp that the signature covers, as it was written."""

    @property
    def delivery(self) -> str | None:
        """The sender's id of this delivery."""

    def pair(self, name: str) -> str | None:
        """Return a named part of the signature header, such as `t` in `t=1,v1=ab`."""

    def prove(self, text: str) -> str | None:
        """Return a text signed with the source's first secret."""


class TemplateError(ValueError):
    """A template cannot be compiled; the message says why."""


_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")


class Template:
    """A compiled template.

    Parameters
    ----------
    text: the template as written.

    Raises
    ------
    TemplateError: braces that do not close, or a place that does not exist.
    """

    __slots__ = ("_pieces", "lead", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._pieces: list[str | Finder] = []
        for match in _PIECE.finditer(text):
            piece = match[0]
            if match[1] is not None:
                self._pieces.append(compile_place(match[1]))
            elif piece in ("{", "}"):
                raise TemplateError(f"`{text}` has a brace that is not closed; write {{{{ for a brace")
            else:
                self._append_text("{" if piece == "{{" else "}" if piece == "}}" else piece)
        #: The fixed text it begins with.
        self.lead = self._pieces[0] if self._pieces and isinstance(self._pieces[0], str) else ""

    def render(self, visit: Visit) -> str | None:
        """Return the text, or None where a place has no value."""
        parts: list[str] = []
        for piece in self._pieces:
            if type(piece) is str:
                parts.append(piece)
                continue
            text = as_text(piece(visit))  # type: ignore[operator] # the other half of the union
            if text is None:
                return None
            parts.append(text)
        return "".join(parts)

    def find(self, visit: Visit) -> Any:
        """Return the value itself where the template is a single place, else the text."""
        if len(self._pieces) == 1 and not isinstance(self._pieces[0], str):
            return self._pieces[0](visit)
        return self.render(visit)

    def __repr__(self) -> str:
        """Show the template as written."""
        return f"Template({self.text!r})"

    def _append_text(self, text: str) -> None:
        if self._pieces and isinstance(self._pieces[-1], str):
            self._pieces[-1] += text
        else:
            self._pieces.append(text)


class SignedTemplate:
    """A compiled template of what a signature covers; it renders bytes, the body unchanged.

    Beside a template's places it knows `{body}`, `{escaped_body}` (all that is not ASCII as `\\uXXXX`),
    `{ts}` (the timestamp as written) and `{id}`.

    Raises
    ------
    TemplateError: as for `Template`.
    """

    __slots__ = ("_finders", "covers_body", "text", "whole_body")

    def __init__(self, text: str) -> None:
        self.text = text
        self._finders: list[bytes | Finder] = []
        for match in _PIECE.finditer(text):
            piece = match[0]
            if match[1] is not None:
                self._finders.append(compile_place(match[1], signed=True))
            elif piece in ("{", "}"):
                raise TemplateError(f"`{text}` has a brace that is not closed; write {{{{ for a brace")
            else:
                self._finders.append((piece[0] if piece in ("{{", "}}") else piece).encode())
        self.whole_body = text == "{body}"
        self.covers_body = "{body}" in text

    def render(self, visit: Visit) -> bytes | None:
        """Return the signed bytes, or None where a place has no value."""
        if self.whole_body:
            return visit.knock.body
        parts: list[bytes] = []
        for piece in self._finders:
            value = piece if type(piece) is bytes else piece(visit)  # type: ignore[operator] # as above
            if type(value) is not bytes:
                text = as_text(value)
                if text is None:
                    return None
                value = text.encode("utf-8", "surrogatepass")
            parts.append(value)
        return b"".join(parts)


def as_text(value: Any) -> str | None:
    """Return a scalar as text, and None for anything else."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return] # kind says so
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float:
        return str(value)
    return None


def compile_place(expression: str, *, signed: bool = False) -> Finder:
    """Compile the inside of a pair of braces: alternatives, the first that is there wins.

    Raises
    ------
    TemplateError: a place that does not exist.
    """
    finders = [_compile_one(part.strip(), signed) for part in expression.split("|")]
    if len(finders) == 1:
        return finders[0]

    def first(visit: Visit) -> Any:
        for finder in finders:
            value = finder(visit)
            if value is not None and value != "":
                return value
        return None

    return first


def _compile_one(place: str, signed: bool) -> Finder:
    if _LITERAL.fullmatch(place):
        literal = place[1:-1]
        return lambda visit: literal
    root, _, rest = place.partition(".")
    if root == "header" and rest:
        header = rest.lower().encode("latin-1", "replace")
        if signed:
            return lambda visit: visit.knock.headers.raw_value(header)

        def find_header(visit: Visit) -> str | None:
            value = visit.knock.headers.raw_value(header)
            return None if value is None else value.decode("latin-1")

        return find_header
    if root == "query" and rest:
        return lambda visit: visit.knock.query(rest)
    if root == "pair" and rest:
        return lambda visit: visit.pair(rest)
    if root == "proof" and rest:
        finder = _compile_one(rest, signed)

        def find_proof(visit: Visit) -> str | None:
            text = as_text(finder(visit))
            return None if text is None else visit.prove(text)

        return find_proof
    if root == "data":
        steps = _steps(rest)
        return lambda visit: walk(visit.data, steps)
    simple = _SIMPLE.get(place) or (_SIGNED.get(place) if signed else None)
    if simple is None:
        known = [
            "header.NAME",
            "query.NAME",
            "data.PATH",
            "pair.NAME",
            *_SIMPLE,
            *(_SIGNED if signed else ()),
        ]
        raise TemplateError(f"`{{{place}}}` is not a place; there are {', '.join(known)}")
    return simple


_SIMPLE: dict[str, Finder] = {
    "method": lambda visit: visit.knock.method,
    "path": lambda visit: visit.knock.path,
    "url": lambda visit: visit.url,
    "rate": lambda visit: visit.rate,
}
_SIGNED: dict[str, Finder] = {
    "body": lambda visit: visit.knock.body,
    "escaped_body": lambda visit: escape_unicode(visit.knock.body),
    "ts": lambda visit: visit.timestamp,
    "id": lambda visit: visit.delivery,
}


def escape_unicode(body: bytes) -> bytes | None:
    r"""Return a JSON text with all that is not ASCII as `\uXXXX`, the form in which Meta signs it."""
    if body.isascii():
        return body
    try:
        units = body.decode().encode("utf-16-be")
    except UnicodeDecodeError:
        return None
    codes = (units[at] << 8 | units[at + 1] for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes).encode()


def _steps(path: str) -> tuple[str, ...]:
    if path.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    return tuple(path.split(".")) if path else ()


def walk(value: Any, steps: tuple[str, ...]) -> Any:
    """Follow a path through objects and arrays; None where it leads nowhere."""
    for step in steps:
        if type(value) is dict:
            value = value.get(step)
        elif type(value) is list and step.isascii() and step.isdigit() and len(step) < 7:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value
