"""Sending an event to a gateway, from a flow, a task or any other program."""

from __future__ import annotations

import functools
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from hookline.blocking import blocking
from hookline.current_run import Run, current_run
from hookline.errors import SendError, SendRefused
from hookline.event import new_id, rfc3339
from hookline.retrying import Undelivered, place, request

if TYPE_CHECKING:
    import httpx

    from hookline.settings import Settings

#: The namespace of the repeatable ids of events that runs send (RFC 9562, UUIDv5).
RUN_IDS = uuid.UUID("6f0d3a5e-0c1b-5d4e-9a37-5b1e4f7c2d90")


async def asend(
    type: str,
    data: Any = None,
    *,
    subject: str | None = None,
    source: str | None = None,
    key: str | None = None,
    id: str | None = None,
    time: datetime | None = None,
    url: str | None = None,
    api_key: str | None = None,
    timeout: timedelta = timedelta(seconds=30),
) -> str:
    """Send an event, and return its tracking id once the gateway has it on disk.

    What is transient is tried again until `timeout`; an id that always goes along keeps those attempts
    one event. Inside a flow or task run the event records the run as its cause by itself, and its id is
    repeatable: when the task is retried, what an earlier attempt has sent is not sent twice. Calls are
    told apart by their number within the run, for each type; where a retry may make other calls, or
    the same ones in another order, give `key`.

    Parameters
    ----------
    type: what happened, such as `dataset.loaded`.
    data: the payload, anything that JSON can hold.
    subject: what it happened to.
    source: where it comes from; by default the gateway names it after the API key.
    key: names this call within its run, instead of its number; stays the same when the whole flow is
        retried. Outside of a run it has no effect.
    id: your own id for the event; the gateway accepts each id once.
    time: when it happened, with an offset; by default the time at which it is accepted.
    url: address of the gateway; by default `HOOKLINE_URL`, or `HOOKLINE_HOST` and `HOOKLINE_PORT`.
    api_key: the key to send with; by default `HOOKLINE_API_KEY`.
    timeout: how long to keep trying.

    Raises
    ------
    SendError: the event could not be sent in time; it may be sent again with the same id.
    SendRefused: the gateway does not take it, or it is nothing that can be sent.
    """
    run = current_run()
    event_id = id or event_id_for(run, type, key)
    body = envelope(type, data, subject=subject, source=source, id=event_id, time=time, run=run)
    gateway = url.rstrip("/") if url else _settings().gateway_url
    secret = api_key if api_key is not None else _settings().api_key
    try:
        answer = await request(
            "POST", f"{gateway}/events", headers=headers(secret, run), content=body, give_up_after=timeout
        )
    except Undelivered as wrong:
        raise SendError(
            f"{type} could not be sent to {place(gateway)}: {wrong}. Check that the gateway is up "
            f"(`hookline doctor`), then send it again; id={event_id!r} keeps it one event."
        ) from wrong
    return tracking_id(answer, type, event_id)


send = blocking(asend)


def event_id_for(run: Run | None, type: str, key: str | None) -> str:
    """Return the id to send an event with: repeatable inside a run, fresh outside of one.

    Parameters
    ----------
    run: the run that sends it; this counts one call in it, unless there is a key.
    type: the event's type.
    key: the author's name for this call.
    """
    if run is None:
        return new_id()
    parts = (
        [run.scope, type, "call", run.next_call(type)] if key is None else [run.outer_scope, type, "key", key]
    )
    return str(uuid.uuid5(RUN_IDS, orjson.dumps(parts).decode()))


def envelope(
    type: str,
    data: Any,
    *,
    subject: str | None,
    source: str | None,
    id: str,
    time: datetime | None,
    run: Run | None,
) -> bytes:
    """Return the JSON body for `POST /events`.

    Raises
    ------
    SendRefused: the data is nothing that JSON can hold, or the time has no offset.
    """
    if time is not None and time.tzinfo is None:
        raise SendRefused(f"time={time} has no offset; use an aware time, such as datetime.now(UTC).")
    members = {
        "type": type,
        "source": source,
        "subject": subject,
        "id": id,
        "time": None if time is None else rfc3339(time),
    }
    document: dict[str, Any] = {name: value for name, value in members.items() if value is not None}
    if data is not None:
        document["data"] = data
    if run is not None:
        document["cause"] = {
            "event": run.cause.event,
            "flow_run": run.cause.flow_run,
            "task_run": run.cause.task_run,
        }
    try:
        return orjson.dumps(document)
    except TypeError as wrong:
        raise SendRefused(f"The data of {type} is nothing that JSON can hold: {wrong}") from None


def headers(api_key: str, run: Run | None) -> dict[str, str]:
    """Return the request headers: credentials, and the trace that the run continues."""
    fields = {"Content-Type": "application/json"}
    if api_key:
        fields["Authorization"] = f"Bearer {api_key}"
    return fields | (run.trace.headers() if run is not None else {})


def tracking_id(answer: httpx.Response, type: str, event_id: str) -> str:
    """Read the tracking id from the gateway's answer.

    Raises
    ------
    SendRefused: the gateway does not take the event, or the answer is none of a gateway's.
    """
    try:
        document = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        document = {}
    if answer.is_success and isinstance(document.get("id"), str):
        return str(document["id"])
    if answer.is_success:
        raise SendRefused(f"{place(str(answer.url))} is no Hookline gateway: it names no tracking id.")
    detail = document.get("detail") or document.get("title") or "no reason given"
    raise SendRefused(
        f"The gateway refused {type} (id {event_id}), HTTP {answer.status_code}: {detail}{_advice(answer)}"
    )


def _advice(answer: httpx.Response) -> str:
    match answer.status_code:
        case 401 | 403:
            return " Check HOOKLINE_API_KEY and what that key may send."
        case 422:
            return (
                " If an earlier attempt of this run has sent other data with this call, tell the two apart"
                " with key=..., or leave out of the data what changes from attempt to attempt."
            )
        case _:
            return ""


@functools.cache
def _settings() -> Settings:
    # Imported here because pydantic-settings takes about 0.4 s to import, and `import hookline` must not.
    from hookline.settings import load_settings

    return load_settings()
