"""Events inside Prefect's server under `up`: what is known of one is not read from its message again.

The triggers, the recorder of task runs, the event store and the event stream each get the same message and
parse it for themselves; a flow run of three tasks makes some twenty-five. None of them writes to what it
reads: the event stream hands one to all of its subscribers. And who publishes a message has its event.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from prefect.server.events.messaging import EventPublisher
from prefect.server.events.schemas.events import Event, ReceivedEvent
from prefect.types._datetime import now

#: Events that are remembered; a service that is further behind parses for itself.
REMEMBERED = 256
_EVENT = "_hookline_event"


class Known:
    """The newest messages and their events."""

    def __init__(self) -> None:
        self._events: OrderedDict[bytes | str, ReceivedEvent] = OrderedDict()

    def get(self, message: bytes | str) -> ReceivedEvent | None:
        """Return a message's event; whoever gets it may set its fields, and nobody else sees that."""
        event = self._events.get(message)
        return None if event is None else event.model_copy()

    def add(self, message: bytes | str, event: ReceivedEvent) -> None:
        """Remember a message's event."""
        self._events[message] = event
        if len(self._events) > REMEMBERED:
            self._events.popitem(last=False)


def read_once() -> None:
    """Read no event twice."""
    known = Known()
    _parse_what_is_not_known(known)
    _know_what_is_published(known)
    setattr(Event, "receive", _receive)  # noqa: B010 (mypy: a method)


def _parse_what_is_not_known(known: Known) -> None:
    stock: Any = ReceivedEvent.model_validate_json

    def model_validate_json(json_data: Any, **options: Any) -> Any:
        """Return the event of a message."""
        if options or not isinstance(json_data, bytes | str):
            return stock(json_data, **options)
        event = known.get(json_data)
        if event is None:
            event = stock(json_data)
            known.add(json_data, event.model_copy())
        return event

    setattr(ReceivedEvent, "model_validate_json", model_validate_json)  # noqa: B010 (mypy: a method)


def _know_what_is_published(known: Known) -> None:
    publisher: Any = EventPublisher
    publish_event, publish_data = publisher.publish_event, publisher.publish_data

    async def publish_an_event(self: Any, event: ReceivedEvent) -> None:
        """Publish an event; the message comes by below, before anything else is waited for."""
        self.__dict__[_EVENT] = event
        await publish_event(self, event)

    async def publish_its_data(self: Any, data: bytes, attributes: Any) -> None:
        """Publish a message."""
        event = self.__dict__.pop(_EVENT, None)
        if event is not None and _comes_back_the_same(event.payload):
            known.add(data, event)
        await publish_data(self, data, attributes)

    publisher.publish_event, publisher.publish_data = publish_an_event, publish_its_data


def _receive(self: Any, received: Any = None) -> ReceivedEvent:
    """Return a checked event as one that was received, without checking it again."""
    values = {name: getattr(self, name) for name in type(self).model_fields}
    if received is not None:
        values["received"] = received
    values.setdefault("received", now("UTC"))
    return ReceivedEvent.model_construct(**values)


def _comes_back_the_same(value: Any) -> bool:
    """Return whether JSON gives back exactly this value."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _comes_back_the_same(each) for key, each in value.items())
    if kind is list:
        return all(map(_comes_back_the_same, value))
    return kind in (str, int, bool, type(None)) or (kind is float and math.isfinite(value))
