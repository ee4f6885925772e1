"""Deliveries as providers send them, of our own making: for `hookline sources test`, the pages, and tests.

`samples/<recipe>.yaml` holds them by the event's name, the most usual one first. In their values `$now`,
`$now_s`, `$now_ms` and `$now_float` stand for the time, and `$id`, `$sha` and `$number` for what is new each
time; `$now_text` and `$number_text` are texts.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import orjson
import yaml

from hookline.errors import SourcesError
from hookline.event import rfc3339
from hookline.nearest import did_you_mean
from hookline.sources.sign import sign, sign_within
from hookline.sources.source import Source

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Sample:
    """A delivery of a provider, before it is signed.

    Parameters
    ----------
    event: its name in the list of samples.
    type, subject: of the event that comes of it, where that is known.
    headers: those by which the provider says what it is.
    body: what is sent.
    content_type: of the body.
    """

    event: str
    type: str
    subject: str | None
    headers: Mapping[str, str]
    body: bytes
    content_type: str = "application/json"


def sample_types(source: Source) -> dict[str, str]:
    """Return the events that there is a sample of, each with its type; the most usual one first."""
    return {event: _type(source, written) for event, written in _written(source.recipe_name).items()}


def make_sample(source: Source, event: str | None, at: datetime, body: bytes | None = None) -> Sample:
    """Return a sample as the source's provider would send it now.

    Parameters
    ----------
    event: its name; the most usual one where there is none. With a body of one's own it may be any.
    at: the time, aware.
    body: is sent in place of the sample's own, as JSON.

    Raises
    ------
    SourcesError: there is none of that name, or of that recipe.
    """
    written = _written(source.recipe_name)
    if body is not None or (event is None and not written):
        headers = _filled(written.get(event or "", {}).get("headers", {}), _values(at))
        return Sample(event or "test", "", None, headers, body if body is not None else b'{"test": true}')
    event = event or next(iter(written))
    if event not in written:
        meant = did_you_mean(event, written) or f"; there is {', '.join(written) or 'none'}"
        raise SourcesError(f"There is no sample `{event}` of `{source.recipe_name}`{meant}")
    chosen = _filled(written[event], _values(at))
    type, subject, headers = _type(source, chosen), chosen.get("subject"), chosen.get("headers", {})
    if "form" in chosen:
        fields = {name: _field(value) for name, value in chosen["form"].items()}
        return Sample(event, type, subject, headers, urlencode(fields).encode(), FORM)
    data = sign_within(source, chosen["data"])
    kind = chosen.get("content_type", "application/json")
    return Sample(event, type, subject, headers, orjson.dumps(data), kind)


def sign_sample(source: Source, sample: Sample, at: datetime, url: str) -> dict[str, str]:
    """Return all headers with which the source's provider would send a sample; as `sign` does."""
    signed = sign(source, sample.body, at, kind=sample.event, url=url, content_type=sample.content_type)
    return {**signed, **sample.headers}


@cache
def _written(recipe: str) -> dict[str, Any]:
    file = resources.files("hookline.sources") / "samples" / f"{recipe}.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text()) if file.is_file() else {}
    return found


def _type(source: Source, written: Mapping[str, Any]) -> str:
    kind: str = written["type"]
    return kind.replace("{source}", source.name)


def _field(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _values(at: datetime) -> dict[str, Any]:
    """Return what placeholders stand for, those first whose names begin with another's."""
    seconds, number = at.timestamp(), secrets.randbelow(2**48)
    return {
        "$now_float": seconds,
        "$now_ms": int(seconds * 1000),
        "$now_s": int(seconds),
        "$now_text": str(int(seconds)),
        "$now": rfc3339(at),
        "$number_text": str(number),
        "$number": number,
        "$sha": secrets.token_hex(20),
        "$id": secrets.token_hex(16),
    }


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    if value in values:
        return values[value]
    for name, new in values.items():
        value = value.replace(name, str(new))
    return value
