"""CloudEvents 1.0 over HTTP: parse and render. Pure.

Whatever a stranger sends, parsing ends in drafts or in a `Refusal`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import quote

import orjson

from hookline import attributes
from hookline.body import check_form, envelope_data, read_form
from hookline.errors import Refusal
from hookline.event import BodyFormat, Draft, Event, rfc3339
from hookline.json_text import array_slices, check_utf8, load_json, load_json_body
from hookline.knock import CREDENTIALS, Headers, Knock
from hookline.native import parse_native
from hookline.trace_context import read_trace, trace_of

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_REQUIRED = ("specversion", "id", "source", "type")
_CHECKS: Mapping[str, Callable[[str], object]] = {
    "id": attributes.check_present,
    "source": attributes.check_uri_reference,
    "type": attributes.check_type,
    "subject": attributes.check_present,
    "time": attributes.read_timestamp,
    "datacontenttype": attributes.check_media_type,
    "dataschema": attributes.check_uri,
}
#: A quoted part, or a quote that opens one that does not end.
_QUOTED = re.compile(rb'"(?:((?:[^"\\]|\\.)*+)")?', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})?")
_INT32 = range(-(2**31), 2**31)


def parse(knock: Knock, *, door: str, default_source: str, default_id: str | None = None) -> list[Draft]:
    """Read what came to `POST /events`: CloudEvents in any mode, or our own JSON.

    Parameters
    ----------
    knock: the request.
    door: the scope of deduplication.
    default_source: the source of an event in our own JSON that names none.
    default_id: the id of an event in our own JSON that has none.

    Raises
    ------
    Refusal: 400 or 415, with a pointer to the fault where there is one.
    """
    if is_cloudevent(knock.headers):
        return parse_cloudevents(knock, door=door)
    return [parse_native(knock, door=door, default_source=default_source, default_id=default_id)]


def is_cloudevent(headers: Headers) -> bool:
    """Return whether a request says that it holds CloudEvents."""
    if headers.media_type.startswith("application/cloudevents"):
        return True
    for name, _ in headers.raw:  # noqa: SIM110 # a generator costs more than all that it looks at
        if name.startswith(b"ce-"):
            return True
    return False


def is_batch(headers: Headers) -> bool:
    """Return whether a request says that it holds a batch of CloudEvents, which is answered as one."""
    return headers.media_type.startswith("application/cloudevents-batch")


def parse_cloudevents(knock: Knock, *, door: str, strict: bool = True) -> list[Draft]:
    """Read CloudEvents in structured, batch or binary mode, all at once; see `each_cloudevent`."""
    return list(each_cloudevent(knock, door=door, strict=strict))


def each_cloudevent(knock: Knock, *, door: str, strict: bool = True) -> Iterator[Draft]:
    """Give CloudEvents in structured, batch or binary mode, one by one; a batch may be empty.

    Parameters
    ----------
    knock: the request.
    door: the scope of deduplication; within it CloudEvents are told apart by `source` and `id`.
    strict: the same `source` and `id` with another body is an error.

    Raises
    ------
    Refusal: 400 for what is no CloudEvent, 415 for a format that is not known.
    """
    media_type = knock.headers.media_type
    if not media_type.startswith("application/cloudevents"):
        yield _binary(knock, door, strict)
        return
    if media_type not in (STRUCTURED, BATCH):
        detail = f"The format {media_type} is not known; send {STRUCTURED} or {BATCH}."
        raise Refusal(415, "unknown-format", detail, headers={"Accept-Post": f"{STRUCTURED}, {BATCH}"})
    check_utf8(knock.headers.content_type)
    document = load_json_body(knock.body)
    headers = knock.headers.kept(CREDENTIALS)
    if media_type == STRUCTURED:
        yield _structured(knock, document, knock.body, headers, door, strict, "")
        return
    if not isinstance(document, list):
        raise Refusal(400, "bad-cloudevent", "A batch is a JSON array of events.", pointer="")
    for number, (each, text) in enumerate(zip(document, array_slices(knock.body), strict=True)):
        yield _structured(knock, each, text, headers, door, strict, f"/{number}")


def structured(event: Event, extensions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Render an event as a CloudEvent in its JSON form.

    Parameters
    ----------
    event: the event; its `id` is the tracking id, unless the sender gave one.
    extensions: further attributes.
    """
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.source_id or event.id,
        "source": _as_uri_reference(event.source),
        "type": event.type,
        "time": rfc3339(event.time),
    }
    if event.subject:
        document["subject"] = event.subject
    if event.traceparent:
        document["traceparent"] = event.traceparent
    if event.tracestate:
        document["tracestate"] = event.tracestate
    document.update(extensions or {})
    if event.data is not None:
        document["datacontenttype"] = "application/json"
        document["data"] = event.data
    return document


def render_structured(event: Event) -> tuple[dict[str, str], bytes]:
    """Return the headers and body of an event in structured mode."""
    return {"Content-Type": STRUCTURED}, orjson.dumps(structured(event))


def render_batch(events: list[Event]) -> tuple[dict[str, str], bytes]:
    """Return the headers and body of a batch."""
    return {"Content-Type": BATCH}, orjson.dumps([structured(event) for event in events])


def render_binary(event: Event) -> tuple[dict[str, str], bytes]:
    """Return the headers and body of an event in binary mode."""
    document = structured(event)
    data = orjson.dumps(document.pop("data")) if "data" in document else b""
    headers = {"Content-Type": document.pop("datacontenttype")} if data else {}
    for name, value in document.items():
        headers[f"ce-{name}"] = encode_header(str(value))
    return headers, data


def encode_header(value: str) -> str:
    """Encode an attribute's value for an HTTP header, as the binding prescribes."""
    # `quote` leaves letters, digits and `_.-~` alone; the rest of printable ASCII is listed as safe.
    return quote(value, safe="!#$&'()*+,/:;<=>?@[\\]^`{|}")


def decode_header(value: bytes) -> str:
    """Decode an attribute's value from an HTTP header, as the binding prescribes.

    Raises
    ------
    ValueError: a quoted string that does not end, a wrong percent-encoding, or no UTF-8.
    """
    value = value.strip(b" \t")
    if b'"' in value:
        value = _QUOTED.sub(_unquoted, value)
    if b"%" in value:
        value = _PERCENT.sub(_percent, value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8") from None


def _unquoted(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise ValueError("has a quoted part that does not end")
    return _ESCAPE.sub(rb"\1", match[1])


def _percent(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise ValueError("has a `%` that encodes nothing; a percent sign is written %25")
    return bytes([int(match[1], 16)])


def _binary(knock: Knock, door: str, strict: bool) -> Draft:
    found: dict[str, Any] = {}
    for raw_name, raw in knock.headers.raw:
        if not raw_name.startswith(b"ce-"):
            continue
        name = raw_name[3:].decode("latin-1")
        if name in found:
            _wrong("bad-cloudevent", None, f"the header ce-{name} is there twice")
        if name == "datacontenttype":
            _wrong("bad-cloudevent", None, "in binary mode Content-Type says it, not ce-datacontenttype")
        try:
            attributes.check_name(name)
            found[name] = decode_header(raw)
        except ValueError as wrong:
            _wrong("bad-cloudevent", None, f"the header ce-{name[:40]}: {wrong}")
    content_type = knock.headers.content_type
    if content_type:
        found["datacontenttype"] = content_type
    time = _check(found, None)
    body_format, data = _binary_data(knock.body, content_type)
    headers = knock.headers.kept(CREDENTIALS)
    return _draft(knock, found, time, knock.body, body_format, data, headers, door, strict)


def _binary_data(body: bytes, content_type: str) -> tuple[BodyFormat, Any]:
    media_type = content_type.partition(";")[0].strip().lower()
    if not body:
        return BodyFormat.NONE, None
    if _declares_json(media_type):
        return BodyFormat.JSON, load_json_body(body)
    try:
        if media_type == "application/x-www-form-urlencoded":
            check_form(body)
            return BodyFormat.FORM, read_form(body)
        if media_type.startswith("text/") or media_type.endswith(("/xml", "+xml")):
            return BodyFormat.TEXT, body.decode()
    except ValueError:
        pass
    return BodyFormat.BYTES, None


def _structured(
    knock: Knock,
    document: Any,
    text: bytes,
    headers: tuple[tuple[str, str], ...],
    door: str,
    strict: bool,
    pointer: str,
) -> Draft:
    if not isinstance(document, dict):
        _wrong("bad-cloudevent", pointer, "a CloudEvent is a JSON object")
    if "data" in document and "data_base64" in document:
        _wrong("bad-cloudevent", f"{pointer}/data_base64", "`data` and `data_base64` exclude each other")
    found = {
        name: value
        for name, value in document.items()
        if value is not None and name not in ("data", "data_base64")
    }
    time = _check(found, pointer)
    try:
        data = envelope_data(document, load_json)
    except ValueError as wrong:
        _wrong("bad-cloudevent", f"{pointer}/data_base64", str(wrong))
    return _draft(knock, found, time, text, BodyFormat.ENVELOPE, data, headers, door, strict)


def _check(found: dict[str, Any], pointer: str | None) -> datetime | None:
    """Check all attributes of an event, which are not null; return its time."""
    for name in _REQUIRED:
        if name not in found:
            _wrong("bad-cloudevent", pointer, f"the attribute `{name}` is missing")
    if found["specversion"] != "1.0":
        _wrong("bad-cloudevent", _inside(pointer, "specversion"), "`specversion` is not 1.0")
    time: datetime | None = None
    for name, value in found.items():
        try:
            check = _CHECKS.get(name)
            if check is None:
                attributes.check_name(name)
                _check_extension(value)
            elif not isinstance(value, str):
                raise ValueError("is no string")
            elif name == "time":
                time = attributes.read_timestamp(value)
            else:
                check(value)
        except ValueError as wrong:
            _wrong("bad-cloudevent", _inside(pointer, name), f"`{name[:40]}` {wrong}")
    return time


def _check_extension(value: Any) -> None:
    if isinstance(value, str):
        attributes.check_text(value)
    elif isinstance(value, bool):
        return
    elif not isinstance(value, int) or value not in _INT32:
        raise ValueError("is neither a string nor a boolean nor an integer of 32 bits")


def _draft(
    knock: Knock,
    found: dict[str, Any],
    time: datetime | None,
    body: bytes,
    body_format: BodyFormat,
    data: Any,
    headers: tuple[tuple[str, str], ...],
    door: str,
    strict: bool,
) -> Draft:
    source = found["source"]
    # The same id from another `source` is another event. A digest, so that an index can hold it.
    scope = source if len(source) <= 200 else hashlib.sha256(source.encode()).hexdigest()
    # The event's own trace goes before that of the hop it came by.
    trace = trace_of(found.get("traceparent"), found.get("tracestate"))
    if trace.parent is None:
        trace = read_trace(knock.headers)
    return Draft(
        door=f"{door} {scope}",
        type=found["type"],
        source=source,
        source_id=found["id"],
        subject=found.get("subject"),
        time=time,
        data=data,
        body=body,
        body_format=body_format,
        # A slice of a batch is an event by itself.
        content_type=STRUCTURED if knock.headers.media_type == BATCH else knock.headers.content_type,
        headers=headers,
        verdict=knock.verdict,
        remote=knock.remote,
        strict=strict,
        traceparent=trace.parent,
        tracestate=trace.state,
    )


def _wrong(reason: str, pointer: str | None, detail: str) -> NoReturn:
    place = f" (at {pointer})" if pointer else ""
    raise Refusal(400, reason, f"Not a valid event: {detail}{place}.", pointer=pointer)


def _inside(pointer: str | None, name: str) -> str | None:
    return None if pointer is None else f"{pointer}/{name[:40].replace('~', '~0').replace('/', '~1')}"


def _as_uri_reference(source: str) -> str:
    try:
        attributes.check_uri_reference(source)
    except ValueError:
        return quote(source, safe="/") or "/"
    return source


def _declares_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))
