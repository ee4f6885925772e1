"""Events inside Prefect's server under `up`: each is read from its message once, not once by each service.

The triggers, the recorder of task runs, the event store and the event stream each get the same message and
parse it for themselves; a flow run of three tasks makes some twenty-five. None of them writes to what it
reads: the event stream hands one to all of its subscribers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from prefect.server.events.schemas.events import ReceivedEvent

from hookline.prefect_server.tested import is_tested

#: Events that are remembered; a service that is further behind parses for itself.
REMEMBERED = 256


def read_once() -> bool:
    """Parse each event's message once; return whether this Prefect is one to do it for."""
    if not is_tested():
        return False
    stock: Any = ReceivedEvent.model_validate_json
    known: OrderedDict[bytes | str, ReceivedEvent] = OrderedDict()

    def model_validate_json(json_data: Any, **options: Any) -> ReceivedEvent:
        """Return the event of a message; whoever gets it may set its fields, and nobody else sees that."""
        if options or not isinstance(json_data, bytes | str):
            return stock(json_data, **options)  # type: ignore[no-any-return] # it is Any, for what it is
        event = known.get(json_data)
        if event is None:
            event = known[json_data] = stock(json_data)
            if len(known) > REMEMBERED:
                known.popitem(last=False)
        return event.model_copy()

    setattr(ReceivedEvent, "model_validate_json", model_validate_json)  # noqa: B010 (mypy: a method)
    return True
