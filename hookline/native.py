"""Our own JSON for `POST /events`: `{type, source?, subject?, id?, time?, data?}`. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn

from hookline import attributes
from hookline.errors import Refusal
from hookline.event import BodyFormat, Cause, Draft
from hookline.json_text import check_utf8, load_json_body
from hookline.knock import CREDENTIALS, Knock
from hookline.trace_context import read_trace

_MEMBERS = ("type", "source", "subject", "id", "time", "data", "cause")
_CAUSE = ("event", "flow_run", "task_run")


def parse_native(knock: Knock, *, door: str, default_source: str, default_id: str | None = None) -> Draft:
    """Read our own JSON, `{type, source?, subject?, id?, time?, data?}`.

    A run that sends an event adds `cause`, `{event?, flow_run?, task_run?}`.

    Parameters
    ----------
    knock: the request.
    door: the scope of deduplication.
    default_source: the source of an event that names none.
    default_id: the id of an event that has none.

    Raises
    ------
    Refusal: 400 for a wrong event, 415 for anything that does not say it is JSON.
    """
    media_type = knock.headers.media_type
    if media_type != "application/json":
        # A browser may send other types to us from any page without asking first.
        detail = "Send JSON with `Content-Type: application/json`, or a CloudEvent."
        raise Refusal(415, "unknown-format", detail, headers={"Accept-Post": "application/json"})
    check_utf8(knock.headers.content_type)
    document = load_json_body(knock.body)
    if not isinstance(document, dict):
        raise Refusal(400, "bad-event", "An event is a JSON object with at least `type`.", pointer="")
    for name in document:
        if name not in _MEMBERS:
            _refuse_member(name)
    texts = {name: _read_text(document, name) for name in ("type", "source", "subject", "id")}
    kind = texts["type"]
    if kind is None:
        _wrong("/type", "`type` is required, such as `order.placed`")
    time = document.get("time")
    trace = read_trace(knock.headers)
    return Draft(
        door=door,
        type=kind,
        source=texts["source"] or default_source,
        source_id=texts["id"] or default_id,
        subject=texts["subject"],
        time=None if time is None else _read_time(time),
        data=document.get("data"),
        body=knock.body,
        body_format=BodyFormat.ENVELOPE,
        content_type=knock.headers.content_type,
        headers=knock.headers.kept(CREDENTIALS),
        verdict=knock.verdict,
        remote=knock.remote,
        strict=True,
        cause=_read_cause(document["cause"]) if document.get("cause") is not None else None,
        traceparent=trace.parent,
        tracestate=trace.state,
    )


def _read_text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        _wrong(f"/{name}", f"`{name}` is no string")
    try:
        attributes.check_type(value) if name == "type" else attributes.check_present(value)
    except ValueError as wrong:
        _wrong(f"/{name}", f"`{name}` {wrong}")
    return value


def _read_time(value: Any) -> datetime:
    try:
        return attributes.read_timestamp(value if isinstance(value, str) else "")
    except ValueError as wrong:
        _wrong("/time", f"`time` {wrong}")


def _read_cause(value: Any) -> Cause:
    if not isinstance(value, dict) or not all(name in _CAUSE for name in value):
        _wrong("/cause", f"`cause` is an object of {', '.join(_CAUSE)}")
    for name, each in value.items():
        if each is not None and not (isinstance(each, str) and 0 < len(each) <= 64 and each.isprintable()):
            _wrong(f"/cause/{name}", f"`{name}` is no id")
    return Cause(**value)


def _refuse_member(name: str) -> NoReturn:
    if name == "specversion":
        _wrong("/specversion", "it looks like a CloudEvent, which comes as application/cloudevents+json")
    shown = name[:40]
    pointer = f"/{shown.replace('~', '~0').replace('/', '~1')}"
    _wrong(pointer, f"there is no `{shown}`; an event has {', '.join(_MEMBERS[:-1])}")


def _wrong(pointer: str, detail: str) -> NoReturn:
    raise Refusal(400, "bad-event", f"Not a valid event: {detail} (at {pointer}).", pointer=pointer)
