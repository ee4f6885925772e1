"""A visit: one knock while it is handled, with what has been found out about it so far."""

from __future__ import annotations

from typing import Any, Protocol

from hookline.event import BodyFormat
from hookline.knock import Knock
from hookline.sources.body import parse_body
from hookline.sources.template import Template


class PairReader(Protocol):
    """Reads named parts of the signature header."""

    def pair(self, visit: Visit, name: str) -> str | None:
        """Return the part of that name."""


class Prover(Protocol):
    """Signs for handshakes."""

    def prove(self, text: str) -> str | None:
        """Return the text signed with the first secret."""


class Visit:
    """What templates and verifiers look at while one request is handled.

    Parameters
    ----------
    knock: the request.
    url: the address that the sender signed.
    form_payload: a form's field `payload` is the body's JSON.
    id: finds the sender's id, which some signatures cover.
    """

    __slots__ = (
        "_data", "_form_payload", "_format", "_id", "knock", "prover", "rate", "reader", "timestamp", "url",
    )  # fmt: skip

    def __init__(
        self, knock: Knock, url: str, form_payload: bool = False, id: Template | None = None
    ) -> None:
        self.knock = knock
        self.url = url
        #: The source's rate, in requests a minute, as the CloudEvents handshake says it.
        self.rate = "*"
        self.timestamp: str | None = None
        self.reader: PairReader | None = None
        self.prover: Prover | None = None
        self._form_payload = form_payload
        self._id = id
        self._format: BodyFormat | None = None
        self._data: Any = None

    @property
    def data(self) -> Any:
        """The parsed body; parsed on first use.

        Raises
        ------
        Refusal: 400, nested too deep.
        """
        if self._format is None:
            self._format, self._data = parse_body(self.knock, self._form_payload)
        return self._data

    @property
    def format(self) -> BodyFormat:
        """How the data lies in the body."""
        if self._format is None:
            self._format, self._data = parse_body(self.knock, self._form_payload)
        return self._format

    @property
    def delivery(self) -> str | None:
        """The sender's id of this delivery, as the signature covers it."""
        return self._id.render(self) if self._id else None

    def element(self, data: Any) -> Visit:
        """Return a visit that looks at one element of the body."""
        part = Visit(self.knock, self.url, id=self._id)
        part.timestamp, part.reader, part.prover = self.timestamp, self.reader, self.prover
        part._format, part._data = BodyFormat.JSON, data
        return part

    def pair(self, name: str) -> str | None:
        """Return a named part of the signature header."""
        return self.reader.pair(self, name) if self.reader else None

    def prove(self, text: str) -> str | None:
        """Return a text signed with the source's first secret."""
        return self.prover.prove(text) if self.prover else None
