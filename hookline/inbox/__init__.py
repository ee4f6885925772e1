"""The inbox: the durable store of events, dispatches and trigger sets."""

from hookline.inbox.inbox import Inbox
from hookline.inbox.records import (
    ACTIVE,
    FINAL_EVENT,
    Dispatch,
    DispatchStatus,
    EventStatus,
    NewDispatch,
    News,
    Recorded,
    Rejection,
    Routed,
    Routing,
    RunSeen,
    Search,
    Step,
    StoredBody,
    StoredEvent,
    Tracked,
)

__all__ = [
    "ACTIVE",
    "FINAL_EVENT",
    "Dispatch",
    "DispatchStatus",
    "EventStatus",
    "Inbox",
    "NewDispatch",
    "News",
    "Recorded",
    "Rejection",
    "Routed",
    "Routing",
    "RunSeen",
    "Search",
    "Step",
    "StoredBody",
    "StoredEvent",
    "Tracked",
]
