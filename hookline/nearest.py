"""The nearest of the names that exist, for messages about one that does not. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: How alike two names have to be, from 0 to 1: a slip of the fingers, and not another word.
_SLIP = 0.7
#: A longer name is no slip of anything; comparing it would take its time.
_LONGEST = 300


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that somebody may have meant, or None where none is near."""
    if len(name) > _LONGEST:
        return None
    found = difflib.get_close_matches(name, [each for each in known if each != name], n=1, cutoff=_SLIP)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that says that a name is not there: `; did you mean order.paid?`."""
    meant = nearest(name, known)
    return f"; did you mean {meant}?" if meant is not None else ""
