"""The W3C trace context of a request: `traceparent` and `tracestate`, as its standard reads them. Pure.

What is wrong counts as not sent, and never fails a request: the run then starts a trace of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hookline.knock import Headers

#: Members of a `tracestate`; with more it is none.
MOST_MEMBERS = 32
#: What is passed on of a `tracestate`; servers further on have limits for their headers too.
STATE_CHARACTERS = 4_128
#: Members that are longer are left out first where it is too much; of shorter ones all fit.
_LONG_MEMBER = 128
_PARENT_CHARACTERS = 200

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(rf"({_KEY})={_VALUE}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in a trace something stands.

    Parameters
    ----------
    parent: the `traceparent`.
    state: the `tracestate`, if there is one.
    """

    parent: str | None = None
    state: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers with which a request goes on with the trace."""
        headers = {} if self.parent is None else {"traceparent": self.parent}
        return headers if self.state is None else headers | {"tracestate": self.state}

    def belongs_to(self, other: TraceContext) -> bool:
        """Return whether both are of one trace."""
        return (self.parent or "")[3:35] == (other.parent or "")[3:35]


NO_TRACE = TraceContext()


def read_trace(headers: Headers) -> TraceContext:
    """Return the trace context that a request came with.

    Of several `traceparent` none is believed; several `tracestate` are one list in their order.
    """
    parent = headers.raw_value(b"traceparent")
    if parent is None or headers.count(b"traceparent") > 1:
        return NO_TRACE
    states = [value.decode("latin-1") for name, value in headers.raw if name == b"tracestate"]
    return trace_of(parent.decode("latin-1"), ",".join(states))


def trace_of(parent: object, state: object) -> TraceContext:
    """Return a trace context of values that may be none; without a parent there is no state."""
    read = read_parent(parent)
    return NO_TRACE if read is None else TraceContext(read, read_state(state))


def read_parent(value: object) -> str | None:
    """Return a `traceparent` if it is one."""
    if not isinstance(value, str) or len(value) > _PARENT_CHARACTERS:
        return None
    value = value.strip(" \t")
    if _PARENT.fullmatch(value) is None:
        return None
    # Version 00 ends after the flags.
    return value if len(value) == 55 or not value.startswith("00") else None


def read_state(value: object) -> str | None:
    """Return a `tracestate` without the blanks between its members, if it is one."""
    if not isinstance(value, str):
        return None
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members[: MOST_MEMBERS + 1]]
    keys = {match[1] for match in found if match is not None}
    # A key that is there twice, or a member that is none, leaves fewer keys than members.
    if not members or len(keys) < len(members) or len(members) > MOST_MEMBERS:
        return None
    return _within_limit(members)


def _within_limit(members: list[str]) -> str:
    """Leave long members out, from the end, until the others are not too much."""
    kept = list(members)
    for member in reversed(members):
        if len(",".join(kept)) <= STATE_CHARACTERS:
            break
        if len(member) > _LONG_MEMBER:
            kept.remove(member)
    return ",".join(kept)
