"""What is wrong in a file that the user wrote, and where. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

#: Keys and values of a file are quoted: what ends a line, or what a terminal obeys, is shown and not sent.
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


class Place(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Parameters
    ----------
    file: the file, as the user knows it.
    place: where in it, or None for the file as a whole.
    message: what is wrong and what to do; never holds a secret.
    warning: it is allowed, and probably not meant.
    """

    file: str
    place: Place | None
    message: str
    warning: bool = False

    def __str__(self) -> str:
        """Return `file:line:column: message`, which editors and terminals make a link of."""
        where = f":{self.place.line}:{self.place.column}" if self.place else ""
        return one_line(f"{self.file}{where}: {self.message}")


def one_line(text: str) -> str:
    """Return a text without control characters: a CI takes a line that begins with `::` for a command."""
    return text.translate(_CONTROLS)


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Return faults as one reads the file, each once."""
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file, fault.place or Place(0, 0)))
