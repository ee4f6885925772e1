"""The event: an immutable accepted fact. Pure data; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import uuid_utils

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

#: A chain of events deeper than this is taken for a loop and dead-lettered (DESIGN.md, Lineage).
MAX_DEPTH = 32


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562) in its text form: unique, and sorted by time of creation."""
    return str(uuid_utils.uuid7())


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with a `Z`, microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Cause:
    """What made an event: the run that sent it, and the event that had started that run.

    Parameters
    ----------
    event: tracking id of the event that started the sending run, if one did.
    flow_run: id of the flow run that sent the event.
    task_run: id of the task run that sent it, if it was sent inside a task.
    """

    event: str | None = None
    flow_run: str | None = None
    task_run: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim check: where an event's data can be fetched, and the token that allows it.

    Parameters
    ----------
    url: address of the received body at the gateway.
    token: bearer token of one dispatch; it expires.
    """

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Event:
    """An accepted event.

    Parameters
    ----------
    id: the tracking id, a UUIDv7 that Hookline gives; also its id in Prefect's event feed.
    type: what happened, such as `github.push`.
    source: the name of the source it came through.
    source_id: the sender's own id, if it gave one; deduplication goes by it.
    subject: what it happened to, such as `acme/shop`.
    time: when it happened, by the sender's word; the accepted time if the sender gave none.
    accepted: when Hookline accepted it.
    data: the payload. With a claim check it is loaded from the gateway on first use.
    claim: the claim check of an event whose data does not travel with it.
    cause: the run and event that caused it, if a run sent it.
    depth: number of events before it in its chain; 0 for one from outside.
    traceparent, tracestate: the W3C trace context it came with.
    """

    id: str
    type: str
    source: str
    time: datetime
    accepted: datetime
    source_id: str | None = None
    subject: str | None = None
    # A factory, not a default: a default would stay visible on the class and hide __getattr__.
    data: Any = field(default_factory=lambda: None, repr=False)
    claim: Claim | None = None
    cause: Cause | None = None
    depth: int = 0
    traceparent: str | None = None
    tracestate: str | None = None

    #: Fetches a claim check's data. `hookline` sets it on import, so that this module does no I/O.
    load_claim: ClassVar[Callable[[Claim], Any] | None] = None

    def __post_init__(self) -> None:
        if self.claim is not None and self.data is None:
            # With the attribute absent, the first use falls through to __getattr__.
            object.__delattr__(self, "data")

    def __getattr__(self, name: str) -> Any:
        """Load the data of a claim check on first use."""
        if name == "data" and self.claim is not None and Event.load_claim is not None:
            data = Event.load_claim(self.claim)
            object.__setattr__(self, "data", data)
            return data
        raise AttributeError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON-ready data: the form in which flows receive it as a parameter."""
        document: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "source": self.source,
            "source_id": self.source_id,
            "subject": self.subject,
            "time": rfc3339(self.time),
            "accepted": rfc3339(self.accepted),
        }
        if self.claim is not None:
            document["claim"] = {"url": self.claim.url, "token": self.claim.token}
        else:
            document["data"] = self.data
        if self.cause is not None:
            document["cause"] = {
                "event": self.cause.event,
                "flow_run": self.cause.flow_run,
                "task_run": self.cause.task_run,
            }
        if self.depth:
            document["depth"] = self.depth
        if self.traceparent is not None:
            document["traceparent"] = self.traceparent
        if self.tracestate is not None:
            document["tracestate"] = self.tracestate
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Event:
        """Read an event back from `to_dict`'s form.

        Raises
        ------
        ValueError: a required key is missing or a value has the wrong form.
        """
        try:
            claim = document.get("claim")
            cause = document.get("cause")
            return cls(
                id=str(document["id"]),
                type=str(document["type"]),
                source=str(document["source"]),
                time=_moment(document["time"]),
                accepted=_moment(document["accepted"]),
                source_id=document.get("source_id"),
                subject=document.get("subject"),
                data=document.get("data"),
                claim=Claim(**claim) if claim else None,
                cause=Cause(**cause) if cause else None,
                depth=int(document.get("depth", 0)),
                traceparent=document.get("traceparent"),
                tracestate=document.get("tracestate"),
            )
        except KeyError as missing:
            raise ValueError(f"not an event: {missing} is missing") from None
        except TypeError as wrong:
            raise ValueError(f"not an event: {wrong}") from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let Prefect validate a flow's `event: hookline.Event | None` parameter."""
        from pydantic_core import core_schema

        def read(value: Any) -> Event:
            return value if isinstance(value, Event) else cls.from_dict(value)

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(lambda e: e.to_dict())
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the parameter to Prefect's server and UI."""
        text = {"type": "string"}
        return {
            "title": "Event",
            "type": "object",
            "description": "A Hookline event; filled in by the dispatcher.",
            "properties": {
                "id": text,
                "type": text,
                "source": text,
                "subject": {},
                "time": text,
                "accepted": text,
                "data": {},
            },
            "required": ["id", "type", "source", "time", "accepted"],
        }


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError(f"time {value!r} has no offset; write it as 2026-11-24T03:00:00Z")
    return moment


class BodyFormat(StrEnum):
    """How an event's data lies in the bytes that were received; `hookline.body` reads it back."""

    JSON = "json"  # the body is the data
    FORM = "form"  # application/x-www-form-urlencoded, data is an object
    FORM_PAYLOAD = "form-payload"  # a form whose field `payload` is the data, as JSON
    TEXT = "text"  # the body is the data, a string
    BYTES = "bytes"  # anything else; data is null, the bytes are at /events/{id}/body
    ENVELOPE = "envelope"  # a JSON object whose `data` (or `data_base64`) is the data
    NONE = "none"  # no data


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A verified and parsed request on its way to become an event; it has no tracking id yet.

    Parameters
    ----------
    door: where it came in, the scope of deduplication: `webhooks/<source>` or `events/<key name>`.
    type, source, source_id, subject, time, data, cause, depth, traceparent, tracestate: as in `Event`.
    body: the received bytes, kept unchanged (for a batch: the slice of this event).
    body_format: how `data` lies in `body`.
    content_type: the received Content-Type, or "".
    headers: the received headers as pairs, credentials and signatures taken out.
    verdict: how it was verified, for people, such as `hmac-sha256, secret 1 of 2`.
    remote: address of the sender.
    dedup_window: for this long an equal body at the same door is a duplicate too, whatever its `source_id`.
    strict: the same `source_id` with another body is an error (422 on `/events`), not a recorded conflict.
    by_reference: the data never travels in a flow parameter (`payload: reference`).
    """

    door: str
    type: str
    source: str
    body: bytes
    body_format: BodyFormat
    data: Any = None
    source_id: str | None = None
    subject: str | None = None
    time: datetime | None = None
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    verdict: str = ""
    remote: str = ""
    dedup_window: timedelta | None = None
    strict: bool = False
    by_reference: bool = False
    cause: Cause | None = None
    traceparent: str | None = None
    tracestate: str | None = None
