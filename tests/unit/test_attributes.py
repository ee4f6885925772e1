"""What an event's type may hold, at every way in."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import attributes, cloudevents
from hookline.errors import Refusal
from hookline.knock import Headers, Knock

#: Blanks of every kind, controls, what turns the direction of writing, what has no width, what is none.
UNSEEN = (
    " ", "\t", "\n", "\x00", "\x1b", "\x7f", "\x85", "\xa0", "\xad", "\u034f", "\u061c", "\u115f", "\u1680",
    "\u180e", "\u2000", "\u2007", "\u200b", "\u200c", "\u200d", "\u200e", "\u2028", "\u2029", "\u202e",
    "\u202f", "\u205f", "\u2060", "\u2066", "\u2800", "\u3000", "\u3164", "\ufdd0", "\ufe0f", "\ufeff",
    "\uffa0", "\ufff9", "\uffff", "\U000e0041", "\U000e0101", "\ud800", "\udfff",
)  # fmt: skip
SEEN = ("order.paid", "github.push", "bestellung.bezahlt-ä", "注文.支払済み", "com.example/x:y@1", "🎉.party")


def knock(body: bytes, *headers: tuple[bytes, bytes]) -> Knock:
    return Knock(
        method="POST", url="", path="/events", query_string=b"", headers=Headers(headers), body=body,
        received=datetime.now(UTC),
    )  # fmt: skip


def ways_in(type: str) -> list[Knock]:
    """Return requests that send a type: our JSON, and CloudEvents structured, in a batch, and binary."""
    # Written by hand: JSON can say what UTF-8 cannot.
    text = '"' + "".join(f"\\u{unit:04x}" for unit in units(type)) + '"'
    members = f'"specversion": "1.0", "id": "1", "source": "/s", "type": {text}'.encode()
    attributes = [(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"/s")]
    escaped = "".join(f"%{byte:02x}" for byte in type.encode("utf-8", "surrogatepass")).encode()
    return [
        knock(f'{{"type": {text}}}'.encode(), (b"content-type", b"application/json")),
        knock(b"{%b}" % members, (b"content-type", cloudevents.STRUCTURED.encode())),
        knock(b"[{%b}]" % members, (b"content-type", cloudevents.BATCH.encode())),
        knock(b"", *attributes, (b"ce-type", escaped)),
    ]


def units(text: str) -> list[int]:
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[place : place + 2]) for place in range(0, len(raw), 2)]


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_a_type_that_is_not_seen_whole_is_refused(character: str) -> None:
    """Before, in and after the name, by every way in: 400."""
    for type in (f"order{character}paid", f"{character}order.paid", f"order.paid{character}"):
        for request in ways_in(type):
            with pytest.raises(Refusal) as refused:
                cloudevents.parse(request, door="events/local", default_source="local")
            assert refused.value.status == 400


@pytest.mark.parametrize("type", SEEN)
def test_a_type_of_any_language_is_taken(type: str) -> None:
    """Letters, digits, signs and pictures."""
    for request in ways_in(type):
        [draft] = cloudevents.parse(request, door="events/local", default_source="local")
        assert draft.type == type


@pytest.mark.parametrize("character", ["\x00", "\n", "\x7f", "\x85", "\ufdd0", "\ud800"], ids=ascii)
@pytest.mark.parametrize("name", ["source", "subject", "id"])
def test_other_attributes_hold_no_control_characters(name: str, character: str) -> None:
    """As CloudEvents says of strings: no controls, no noncharacters, no lone surrogates."""
    event = {"type": "a.b", "source": "s", "subject": "x", "id": "1", name: f"a{character}b"}
    body = orjson.dumps({**event, name: None})
    text = "".join(f"\\u{unit:04x}" for unit in units(f"a{character}b"))
    body = body.replace(b"null", f'"{text}"'.encode())
    with pytest.raises(Refusal) as refused:
        cloudevents.parse(
            knock(body, (b"content-type", b"application/json")), door="events/local", default_source="local"
        )
    assert refused.value.status == 400


@given(st.text(st.characters(), min_size=1, max_size=40))
def test_a_type_that_is_tidied_is_one(text: str) -> None:
    """What Prefect's feed names as it likes; what was fit stays as it was."""
    tidied = attributes.tidy_type(text)
    attributes.check_type(tidied)
    assert attributes.tidy_type(tidied) == tidied
