"""A message of Prefect's server is parsed once, and each service gets an event of its own."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import json, uuid
from prefect.server.events.schemas.events import ReceivedEvent
from hookline.prefect_server import messages
parsed = 0
stock = ReceivedEvent.model_validate_json
def counted(data, **options):
    global parsed
    parsed += 1
    return stock(data, **options)
ReceivedEvent.model_validate_json = counted
reads = messages.read_once()
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
print(json.dumps([reads, before, parsed - before - messages.REMEMBERED, same, apart, refused]))
"""


def test_a_message_is_parsed_once_and_its_events_are_apart() -> None:
    """Two messages and two that are no events: four parsings; one that was forgotten is parsed again."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, 4, 2, True, True, 2]
