"""A sender in a process of its own, as careful as a sender can be: python -m tests.support.sender SPEC.

It knows nothing of Hookline but the address. A delivery that is not acknowledged is sent again under the
same id; what is acknowledged is written to the sender's own log and through to its disk before it goes on.
Now and then it sends something again that was acknowledged, as providers do.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

#: How long one delivery may take before it counts as not acknowledged.
TIMEOUT_SECONDS = 5.0
#: One delivery in so many is sent again although it was acknowledged.
AGAIN_ONE_IN = 20


@dataclass(frozen=True)
class Spec:
    """What a sender sends.

    Parameters
    ----------
    url: the gateway.
    log: its own log; one line an acknowledgement: the sender's id, the tracking id, the event's type.
    name: the beginning of its ids.
    events: how many.
    act_one_in: one event in so many is of the type that starts a flow.
    seconds: over which time the first attempts are spread.
    seed: of the moments and the types.
    """

    url: str
    log: str
    name: str
    events: int
    act_one_in: int
    seconds: float
    seed: int

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "tests.support.sender", json.dumps(asdict(self))]


class Sender:
    """Sends until everything is acknowledged."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._random = random.Random(spec.seed)  # noqa: S311 (repeatable, not secret)
        self._place = urlsplit(spec.url)
        self._connection: HTTPConnection | None = None
        self._pause = threading.Event()

    def run(self) -> None:
        moments = sorted(self._random.uniform(0, self._spec.seconds) for _ in range(self._spec.events))
        began = time.monotonic()
        log = os.open(self._spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for number, moment in enumerate(moments):
            kind = "fault.act" if self._random.randrange(self._spec.act_one_in) == 0 else "fault.pass"
            times = 2 if self._random.randrange(AGAIN_ONE_IN) == 0 else 1
            self._pause.wait(max(0.0, began + moment - time.monotonic()))
            source_id = f"{self._spec.name}-{number}"
            for _ in range(times):
                tracking_id = self._deliver(source_id, kind, number)
                os.write(log, f"{source_id} {tracking_id} {kind}\n".encode())
                os.fsync(log)

    def _deliver(self, source_id: str, kind: str, number: int) -> str:
        body = json.dumps({"type": kind, "id": source_id, "data": {"number": number}}).encode()
        attempt = 0
        while True:
            answer = self._try(body)
            if answer is not None:
                return answer
            attempt += 1
            self._pause.wait(self._random.uniform(0.02, min(0.1 * 2 ** min(attempt, 10), 1.0)))

    def _try(self, body: bytes) -> str | None:
        """Return the tracking id, or None when it is not acknowledged: whatever else is answered is not."""
        try:
            if self._connection is None:
                host, port = self._place.hostname or "", self._place.port
                self._connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
            self._connection.request("POST", "/events", body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        if 400 <= answer.status < 500 and answer.status not in (408, 429):
            raise SystemExit(f"refused: {answer.status} {text.decode(errors='replace')}")
        return str(json.loads(text)["id"]) if answer.status == 202 else None


def read_log(path: Path) -> list[tuple[str, str, str]]:
    """Return the acknowledgements of a sender's log: its own id, the tracking id, the type."""
    lines = (line.split(" ") for line in path.read_text().splitlines())
    return [(source_id, tracking_id, kind) for source_id, tracking_id, kind in lines]


if __name__ == "__main__":
    Sender(Spec(**json.loads(sys.argv[1]))).run()
