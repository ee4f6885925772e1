"""From a verified request to drafts: its type, subject, time and the sender's id. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from os.path import commonprefix
from typing import Any

from hookline.sources.template import Template
from hookline.sources.visit import Visit

_PLAIN = re.compile(r"[!-~]{1,200}")
_UNFIT = re.compile(r"[^!-~]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")
#: Numbers above this are milliseconds: as seconds they would lie after the year 5000.
_MILLISECONDS = 100_000_000_000


class TypeRule:
    """Makes an event's type.

    Parameters
    ----------
    texts: templates such as `github.{header.X-GitHub-Event}`; the first that has all its places is taken.
        `{source}` in them is the source's name.
    source: the source's name, the prefix of types where the templates begin with none.
    """

    def __init__(self, texts: Sequence[str], source: str) -> None:
        self._templates = [Template(text.replace("{source}", source)) for text in texts]
        lead = commonprefix([template.lead for template in self._templates])  # noqa: RUF071 # characters, no paths
        shared = lead[: lead.rfind(".") + 1]
        #: What the types of the source begin with.
        self.prefix = shared or f"{source}."
        self._unknown = f"{self.prefix}unknown"
        word = self.prefix[:-1]
        self._repeated = (f"{self.prefix}{word}:", f"{self.prefix}{word}.")
        #: The templates leave the whole type to the sender.
        self.open = not shared

    def __call__(self, visit: Visit) -> str:
        """Return the type; the part that the sender gives is kept within what a type may hold."""
        for template in self._templates:
            text = template.render(visit)
            if text is not None and len(text) <= 200 and text != self.prefix:
                return self._tidy(text)
        return self._unknown

    def of_cloudevent(self, kind: str) -> str:
        """Return the type of a CloudEvent that came through the source."""
        return kind if self.open or kind.startswith(self.prefix) else f"{self.prefix}{kind}"

    def _tidy(self, text: str) -> str:
        if text.startswith(self._repeated):
            # `jira.jira:issue_created` says it twice.
            text = self.prefix + text[len(self._repeated[0]) :]
        return text if _PLAIN.fullmatch(text) else _UNFIT.sub("_", text)


def read_text(template: Template | None, visit: Visit) -> str | None:
    """Return a template's text without control characters, or None where there is none."""
    text = template.render(visit) if template else None
    if not text:
        return None
    return text if text.isprintable() else _CONTROL.sub(" ", text).strip() or None


def read_id(template: Template | None, visit: Visit) -> str | None:
    """Return the sender's id; one that is too long to keep is replaced by its digest."""
    text = read_text(template, visit)
    if text is not None and len(text) > 200:
        return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text


def read_time(template: Template | None, visit: Visit) -> datetime | None:
    """Return when it happened, in UTC; None where the sender gave no time that can be understood."""
    value = template.find(visit) if template else None
    try:
        return _moment(value)
    except (ValueError, OverflowError):
        return None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{9,14}(\.[0-9]{1,9})?", value):
        value = float(value)
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        # A naive time could be any of 26 hours: better none.
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value > _MILLISECONDS else value
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    return None
