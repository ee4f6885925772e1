"""Official vectors: each is accepted as it is, and refused after a change of any byte of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from hookline.errors import Refusal
from hookline.sources import Knock, Source, builtin, recipe_names
from tests.unit.sources.support import VECTORS, Vector, drafts, official_vectors, receive

OFFICIAL = official_vectors()
each_vector = pytest.mark.parametrize("vector", OFFICIAL, ids=lambda v: f"{v.name}-{v.recipe}")


def refused(source: Source, request: Knock) -> bool:
    """Return whether a request is refused as unverified; any other outcome fails the test."""
    try:
        receive(source, request)
    except Refusal as refusal:
        return refusal.status == 401
    return False


def changed(text: bytes) -> Iterator[bytes]:
    """Yield the text with each of its bytes changed in turn, by one bit and by another."""
    for at, byte in enumerate(text):
        yield text[:at] + bytes([byte ^ 1]) + text[at + 1 :]
        yield text[:at] + bytes([byte ^ 0x20]) + text[at + 1 :]


@each_vector
def test_it_is_accepted(vector: Vector) -> None:
    """An official vector, sent at its time, gives events whose body is the one that was sent."""
    found = drafts(vector.source(), vector.knock())
    assert found
    if not builtin(vector.recipe).each:
        assert found[0].body == vector.body


@each_vector
def test_a_changed_body_is_refused(vector: Vector) -> None:
    """Whatever byte of the body is changed, the signature no longer fits."""
    source = vector.source()
    for body in changed(vector.body):
        # Twilio signs a form's fields, not its bytes: `%2b` is the same field as `%2B`.
        if vector.name == "twilio-form" and body.upper() == vector.body.upper():
            continue
        assert refused(source, vector.knock(body=body)), body
    assert refused(source, vector.knock(body=vector.body + b" "))
    assert refused(source, vector.knock(body=b""))


@each_vector
def test_a_changed_signature_is_refused(vector: Vector) -> None:
    """Whatever byte of the signature header is changed, it is refused, even where it decodes to the same."""
    source = vector.source()
    for value in changed(vector.headers[vector.signature].encode()):
        headers = {**vector.headers, vector.signature: value.decode("latin-1")}
        # Paddle's vector lists two signatures for rotation, the first of which is not valid anyway.
        if vector.name == "paddle-rotation" and value[24:] == vector.headers[vector.signature].encode()[24:]:
            continue
        assert refused(source, vector.knock(headers=headers)), value
    without = {name: value for name, value in vector.headers.items() if name != vector.signature}
    assert refused(source, vector.knock(headers=without or {"Accept": "*/*"}))


@pytest.mark.parametrize("vector", [v for v in OFFICIAL if v.timestamp], ids=lambda v: v.name)
def test_a_changed_timestamp_is_refused(vector: Vector) -> None:
    """The timestamp is signed: whatever byte of it is changed, it is refused."""
    assert vector.timestamp is not None
    source = vector.source()
    for value in changed(vector.headers[vector.timestamp].encode()):
        headers = {**vector.headers, vector.timestamp: value.decode("latin-1")}
        assert refused(source, vector.knock(headers=headers)), value


def test_paddles_timestamp_lies_in_its_header() -> None:
    """Paddle's timestamp is a part of the signature header: whatever byte of it is changed, it is refused."""
    vector = next(each for each in OFFICIAL if each.name == "paddle-rotation")
    source = vector.source()
    header = vector.headers["Paddle-Signature"]
    for start in changed(header[:13].encode()):
        headers = {"Paddle-Signature": start.decode("latin-1") + header[13:]}
        assert refused(source, vector.knock(headers=headers)), start


@each_vector
def test_another_secret_is_refused(vector: Vector) -> None:
    """Whatever byte of the secret is changed, even one that is no key any more, the request is refused."""
    for secret in islice(changed(vector.secret.encode()), 0, None, 2):
        if not secret.isascii():
            continue
        assert refused(vector.source(secret.decode()), vector.knock()), secret


def test_verified_means_that_a_vector_holds() -> None:
    """Exactly the recipes that an official vector proves say `verified`."""
    verified = {name for name in recipe_names() if builtin(name).verified}
    assert verified == {vector.recipe for vector in OFFICIAL}


def test_every_vector_is_run() -> None:
    """No vector is left out but two of Paddle's, whose bodies are files that we do not have."""
    without_body = {"paddle-standard_payload", "paddle-special_chars_payload"}
    assert {each["name"] for each in VECTORS} == {vector.name for vector in OFFICIAL} | without_body
