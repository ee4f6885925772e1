"""What goes into the inbox and what comes out of it, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from hookline.event import BodyFormat, Cause, Draft

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Return an aware time as microseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return microseconds since the Unix epoch as a UTC time."""
    return _EPOCH + timedelta(microseconds=micros)


def optional_moment(micros: int | None) -> datetime | None:
    """Return `from_micros`, or None for None."""
    return None if micros is None else from_micros(micros)


class EventStatus(StrEnum):
    """An event's status: the first that holds, in this order."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    DEAD = "dead"
    DISPATCHED = "dispatched"
    IGNORED = "ignored"


class DispatchStatus(StrEnum):
    """A dispatch's status."""

    PENDING = "pending"
    HELD = "held"
    STARTED = "started"
    FILTERED = "filtered"
    MERGED = "merged"
    DEAD = "dead"


#: Dispatches that will still do something by themselves.
ACTIVE = (DispatchStatus.PENDING, DispatchStatus.HELD)
#: Event statuses that end a wait at once.
FINAL_EVENT = (EventStatus.DEAD, EventStatus.IGNORED)
#: Prefect's terminal state types, and ours for a run that was deleted.
TERMINAL_STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "GONE")


class Arrival(NamedTuple):
    """A draft that was given its tracking id, on its way to the disk.

    Parameters
    ----------
    unexpected_in: a version of the trigger set in which no trigger expects its type.
    """

    id: str
    draft: Draft
    accepted: datetime
    unexpected_in: int | None = None


class Recorded(NamedTuple):
    """What the inbox did with an arrival.

    Parameters
    ----------
    id: the event's tracking id; a duplicate gets the first one's.
    duplicate: an event with this `source_id` was there already.
    conflict: it was there with another body.
    depth: number of events before it in its chain.
    routed: it was recorded as ignored, as no trigger in force expects its type; nothing is left to be done.
    """

    id: str
    duplicate: bool = False
    conflict: bool = False
    depth: int = 0
    routed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as the inbox keeps it, without its body."""

    id: str
    door: str
    source: str
    source_id: str | None
    type: str
    subject: str | None
    time: datetime
    accepted: datetime
    status: EventStatus
    routed: datetime | None
    trigger_set: int | None
    size: int
    duplicates: int
    conflicts: int
    by_reference: bool
    cause: Cause | None
    depth: int
    traceparent: str | None
    verdict: str
    remote: str


@dataclass(frozen=True, slots=True)
class StoredBody:
    """The received bytes of an event and how they came."""

    body: bytes
    body_format: BodyFormat
    content_type: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """One (event, trigger, replay number) on its way to a flow run."""

    id: str
    event_id: str
    trigger_id: str
    replay: int
    trigger_set: int
    lane: str
    status: DispatchStatus
    created: datetime
    reason: str | None = None
    response: str | None = None
    attempts: int = 0
    merged_into: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    debounce_key: str | None = None
    due: datetime | None = None
    run_created: datetime | None = None
    run_started: datetime | None = None
    first_task: datetime | None = None
    finished: datetime | None = None
    flow_run_id: str | None = None
    flow_run_name: str | None = None
    deployment_id: str | None = None
    state: str | None = None
    state_as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """An event with all that became of it, as of one moment.

    Parameters
    ----------
    dispatches: its dispatches, oldest first.
    leaders: the dispatches that its merged ones were merged into, by id.
    effects: ids of the events that its runs sent.
    """

    event: StoredEvent
    dispatches: tuple[Dispatch, ...]
    leaders: dict[str, Dispatch]
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDispatch:
    """A dispatch that routing makes.

    Parameters
    ----------
    trigger_id: the trigger's id, `flow/deployment/name`.
    lane: `flow/deployment`.
    filtered: why `where` did not match; None where it did.
    dead: why the dispatch is dead from the start, such as `loop`.
    concurrency_key, concurrency_limit: runs with this key that may be unfinished at once.
    debounce_key, quiet, max_wait: hold until this long without another event of the key, at most `max_wait`.
    due: hold until then (`delay`).
    """

    trigger_id: str
    lane: str
    filtered: str | None = None
    dead: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    debounce_key: str | None = None
    quiet: timedelta | None = None
    max_wait: timedelta | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """The outcome of matching one event against one version of the trigger set.

    Parameters
    ----------
    event_id: the tracking id.
    trigger_set: the version that it was matched against.
    dispatches: what is to be made of it; empty for an ignored event.
    replay: True for a replay: the event was routed before, and gets further dispatches.
    """

    event_id: str
    trigger_set: int
    dispatches: tuple[NewDispatch, ...] = ()
    replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A request that was turned away."""

    id: str
    at: datetime
    door: str
    remote: str
    status: int
    reason: str
    detail: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search over events; every part given must hold.

    Parameters
    ----------
    type: a literal type, or a prefix with a trailing `*`.
    since, until: bounds of the accepted time, inclusive and exclusive.
    cursor: id of the last event of the page before.
    limit: at most this many events, newest first.
    oldest_first: order of arrival instead.
    """

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    status: EventStatus | None = None
    since: datetime | None = None
    until: datetime | None = None
    cursor: str | None = None
    limit: int = 50
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class RunSeen:
    """What is known of a flow run at a moment.

    Parameters
    ----------
    flow_run_id: Prefect's id.
    state: Prefect's state type, such as `RUNNING`, or `GONE` for a run that was deleted.
    as_of: when the state was true.
    started, first_task, finished: times of the run's steps, as far as known.
    """

    flow_run_id: str
    state: str
    as_of: datetime
    started: datetime | None = None
    first_task: datetime | None = None
    finished: datetime | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts that must hold together; see `hookline audit`."""

    received: int
    by_status: dict[str, int]
    pruned: int
    duplicates: int
    rejections: int
    faults: list[dict[str, Any]] = field(default_factory=list)
