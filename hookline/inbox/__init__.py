"""The inbox: the durable store of events, dispatches and trigger sets."""

from hookline.inbox.inbox import Inbox
from hookline.inbox.records import (
    ACTIVE,
    FINAL_EVENT,
    Dispatch,
    DispatchStatus,
    EventStatus,
    NewDispatch,
    Recorded,
    Rejection,
    Routing,
    RunSeen,
    Search,
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
    "Recorded",
    "Rejection",
    "Routing",
    "RunSeen",
    "Search",
    "StoredBody",
    "StoredEvent",
    "Tracked",
]
