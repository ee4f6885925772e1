"""One entry of `sources.yaml`, as written: its keys, checked before they mean anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hookline.sources.recipe import Duration, TemplateText, TypeTexts, read_several

MAX_BODY_LIMIT_BYTES = 25 * 1024 * 1024

_RATE = re.compile(r"([1-9][0-9]{0,8})\s*/\s*(s|m|h)")
_SIZE = re.compile(r"([0-9]{1,9})\s*(KiB|MiB)?")
_PERIODS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests a source may make.

    Parameters
    ----------
    limit: number of requests.
    per: in this time.
    """

    limit: int
    per: timedelta


def read_rate(value: object) -> Rate:
    """Return a rate that is written as 100/s, 6000/m or 1000/h.

    Raises
    ------
    ValueError: it is written otherwise.
    """
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is no rate; write it as 100/s, 6000/m or 1000/h")
    return Rate(int(match[1]), _PERIODS[match[2]])


def _read_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("is no size; write it as a number of bytes, 512KiB or 2MiB")
    return int(match[1]) * {None: 1, "KiB": 1024, "MiB": 1024 * 1024}[match[2]]


def _read_sunset(value: object) -> object:
    # YAML reads a date and a time without an offset by itself; the date is the start of that day in UTC.
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("has no offset; write it as 2027-01-31T00:00:00Z")
    return value


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _address(value: str) -> str:
    if not re.match(r"https?://[^\s/]+", value):
        raise ValueError("is no http address; write it as https://hooks.example.com/webhooks/name")
    return value


References = Annotated[tuple[str, ...], BeforeValidator(read_several)]


class Dedup(BaseModel):
    """Deduplication by the body, beside that by the sender's id.

    Parameters
    ----------
    body: an equal body is a duplicate, whatever its id.
    window: for this long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body: bool = True
    window: Annotated[Duration, Field(gt=timedelta(0))] | None = None

    @model_validator(mode="after")
    def _either(self) -> Dedup:
        if not self.body and self.window is not None:
            raise ValueError("with `body: false` there is no `window`")
        return self


class Entry(BaseModel):
    """What a user writes about a source; `docs/sources.md` explains each key, and a test holds it to that."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    recipe: str | dict[str, Any]
    secrets: References = ()
    tokens: References = ()
    verify_tokens: References = ()
    type: TypeTexts = ()
    subject: TemplateText | None = None
    time: TemplateText | None = None
    source_id: TemplateText | None = None
    url: Annotated[str, AfterValidator(_address)] | None = None
    topics: References = ()
    audience: str | None = None
    email: str | None = None
    body_limit: Annotated[int, BeforeValidator(_read_size), Field(gt=0, le=MAX_BODY_LIMIT_BYTES)] | None = (
        None
    )
    rate: Annotated[Rate, BeforeValidator(read_rate)] | None = None
    dedup: Dedup | None = None
    payload: Literal["inline", "reference"] = "inline"
    schemas: dict[str, str | bool | dict[str, Any]] = {}
    sunset: Annotated[datetime, BeforeValidator(_read_sunset), AfterValidator(_aware)] | None = None
