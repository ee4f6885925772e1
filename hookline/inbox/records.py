"""What goes into the inbox and what comes out of it, as frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import uuid_utils

from hookline.event import BodyFormat, Cause, Draft

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# PostgreSQL's text has no NUL, and no database's text has half a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def to_micros(moment: datetime) -> int:
    """Return an aware time as microseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return microseconds since the Unix epoch as a UTC time."""
    return _EPOCH + timedelta(microseconds=micros)


def optional_moment(micros: int | None) -> datetime | None:
    """Return `from_micros`, or None for None."""
    return None if micros is None else from_micros(micros)


def id_at(micros: int) -> str:
    """Return a new UUIDv7 that holds a time to the microsecond (RFC 9562, 6.2, method 3).

    Two ids of different microseconds sort as their times do.
    """
    # The second half of a random UUIDv4 is that of a UUIDv7: the variant and 62 random bits.
    return _first_half(micros) + str(uuid_utils.uuid4())[18:]


def first_id_at(moment: datetime) -> str:
    """Return the smallest id of a moment: a range of times is a range of ids."""
    return _first_half(max(to_micros(moment), 0)) + "-8000-000000000000"


def time_of_id(uuid7: str) -> datetime:
    """Return the time that a UUIDv7 holds, to the millisecond."""
    return from_micros(int(uuid7[:8] + uuid7[9:13], 16) * 1000)


def _first_half(micros: int) -> str:
    millis, rest = divmod(micros, 1000)
    # The 12 bits after the version hold the fraction of the millisecond, in steps of 0.24 us.
    return f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7{rest * 4096 // 1000:03x}"


def storable(text: str) -> str:
    """Return a text as every database can keep it."""
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\ufffd", text)


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
#: The state of a run that Prefect no longer has.
GONE = "GONE"
#: Prefect's terminal state types, and ours for a run that was deleted.
TERMINAL_STATES = frozenset(("COMPLETED", "FAILED", "CRASHED", "CANCELLED", GONE))


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
    tracestate: str | None
    verdict: str
    remote: str
    #: When a person's data was taken out of it.
    erased: datetime | None = None


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
    place: str
    status: DispatchStatus
    created: datetime
    reason: str | None = None
    response: str | None = None
    attempts: int = 0
    merged_into: str | None = None
    replaced_by: str | None = None
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
    seen: bool = False


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


class Routed(NamedTuple):
    """What routing did.

    Parameters
    ----------
    events: ids of those that it routed or replayed; the others of its batch had been routed meanwhile.
    dispatches: all that were made.
    """

    events: set[str]
    dispatches: list[Dispatch]

    @property
    def ready(self) -> list[Dispatch]:
        """Those that may start now, leased to this process."""
        return [each for each in self.dispatches if each.status is DispatchStatus.PENDING]


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
    id_end: the last digits of the id; looked for among the newest million.
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
    id_end: str | None = None
    cursor: str | None = None
    limit: int = 50
    oldest_first: bool = False

    def fits(self, event: StoredEvent) -> bool:
        """Return whether type, source and subject of an event fit."""
        if self.type is not None and self.type.endswith("*"):
            of_type = event.type.startswith(self.type[:-1])
        else:
            of_type = self.type in (None, event.type)
        return of_type and self.source in (None, event.source) and self.subject in (None, event.subject)


@dataclass(frozen=True, slots=True)
class RunSeen:
    """What is known of a flow run at a moment.

    Parameters
    ----------
    flow_run_id: Prefect's id.
    as_of: when it was true.
    state: Prefect's state type, such as `RUNNING`, `GONE` for a run that was deleted, or None where the news
        does not say.
    started, first_task, finished: times of the run's steps, as far as known.
    """

    flow_run_id: str
    as_of: datetime
    state: str | None = None
    started: datetime | None = None
    first_task: datetime | None = None
    finished: datetime | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an event's receipt that has just become known.

    Parameters
    ----------
    name: `run_started`, `first_task` or `finished`.
    state: the run's state type.
    is_replay: it belongs to a replay of the event.
    """

    event_id: str
    lane: str
    name: str
    at: datetime
    state: str | None = None
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What changed in the inbox when runs were seen.

    Parameters
    ----------
    event_ids: events whose picture changed.
    finished: ids of the dispatches whose runs were seen finished, in this moment or before.
    lanes: where a dispatch was set free that had waited for its concurrency key.
    steps: what has just become known, for the metrics.
    """

    event_ids: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    lanes: frozenset[str] = frozenset()
    steps: tuple[Step, ...] = ()
