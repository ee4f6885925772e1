"""A message of Prefect's server is parsed once, and each service gets an event of its own."""

from __future__ import annotations

import json
import subprocess
import sys

#: What both programs begin with: `parsed` counts the messages that Prefect's own method parsed.
_COUNTING = """
from prefect.server.events.schemas.events import Event, ReceivedEvent
from hookline.prefect_server import messages
parsed = 0
stock, stock_receive = ReceivedEvent.model_validate_json, Event.receive
def counted(data, **options):
    global parsed
    parsed += 1
    return stock(data, **options)
ReceivedEvent.model_validate_json = counted
messages.read_once()
"""

_PROGRAM = (
    _COUNTING
    + """
import json, uuid
def message(name):
    return json.dumps({"id": str(uuid.uuid4()), "event": name,
                       "occurred": "2026-11-24T03:00:00Z", "received": "2026-11-24T03:00:01Z",
                       "resource": {"prefect.resource.id": "a.b"}, "payload": {"n": [1]}}).encode()
first, second = message("first"), message("second")
one, two, other = (ReceivedEvent.model_validate_json(each) for each in (first, first, second))
same = one == two == stock(first) and one is not two and other.event == "second"
one.event = "changed"
apart = two.event == ReceivedEvent.model_validate_json(first).event == "first"
refused = 0
for _ in range(2):
    try:
        ReceivedEvent.model_validate_json(b'{"event": 1}')
    except ValueError:
        refused += 1
before = parsed
for number in range(messages.REMEMBERED + 1):
    ReceivedEvent.model_validate_json(message(str(number)))
ReceivedEvent.model_validate_json(first)
print(json.dumps([before, parsed - before - messages.REMEMBERED, same, apart, refused]))
"""
)


def test_a_message_is_parsed_once_and_its_events_are_apart() -> None:
    """Two messages and two that are no events: four parsings; one that was forgotten is parsed again."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [4, 2, True, True, 2]


_PUBLISHED = (
    _COUNTING
    + """
import asyncio, enum, json, math, uuid
from datetime import datetime, timezone
from prefect.server.events.messaging import EventPublisher

class Kind(str, enum.Enum):
    ONE = "one"
class Wire:
    sent = []
    async def publish_data(self, data, attributes):
        self.sent.append(data)
def event(payload):
    return Event(id=uuid.UUID(int=1), event="made", occurred="2026-11-24T03:00:00.123456+02:00",
                 resource={"prefect.resource.id": "a.b", "n": "1"}, payload=payload, follows=uuid.UUID(int=2),
                 related=[{"prefect.resource.id": "c.d", "prefect.resource.role": "tag"}])
plain = {"text": "\\u00e9", "number": 1.5, "list": [True, None, {"deep": 2}], "big": 2**70}
at = datetime(2026, 11, 24, 4, tzinfo=timezone.utc)
odd = ({"at": at}, {"kind": Kind.ONE}, {"number": math.nan}, {"two": (1, 2)})
async def main():
    publisher = EventPublisher(Wire())
    told = []
    for payload in (plain, *odd):
        made = event(payload)
        received = made.receive(at)
        assert received == stock_receive(made, at) == received.receive()
        assert stock_receive(made).received >= at and made.receive().received >= at
        await publisher.publish_event(received)
        before = parsed
        got = ReceivedEvent.model_validate_json(Wire.sent[-1])
        read = stock(Wire.sent[-1])
        assert got == read and got.model_dump_json() == read.model_dump_json() and got is not received
        told.append(parsed - before)
    print(told)
asyncio.run(main())
"""
)


def test_what_was_published_is_known() -> None:
    """But where JSON would give back another payload, that payload is what services see, as ever."""
    done = subprocess.run([sys.executable, "-c", _PUBLISHED], capture_output=True, text=True)
    assert done.stdout == "[0, 1, 1, 1, 1]\n", done.stderr
