"""The official vectors over HTTP, each at its time: accepted as they are, 401 when any byte is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import time_machine
import yaml

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.wire import request, statuses
from tests.unit.sources.support import Vector, official_vectors

VECTORS = official_vectors()
#: These sign the address, which the provider knows the gateway by.
SIGN_THE_ADDRESS = ("twilio", "square", "hubspot-v2", "hubspot")

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v.name}-{v.recipe}")


def source_name(vector: Vector, wrong: int | None = None) -> str:
    return f"{vector.name}-{vector.recipe}" + ("" if wrong is None else f"-{wrong}")


def changed(text: bytes) -> Iterator[bytes]:
    """Yield the text with one bit of each of its bytes changed in turn."""
    for at, byte in enumerate(text):
        yield text[:at] + bytes([byte ^ 1]) + text[at + 1 :]


def all_sources() -> tuple[str, dict[str, str]]:
    """Return a source for each vector, and one for each byte of its secret with that byte changed."""
    entries: dict[str, dict[str, object]] = {}
    environ: dict[str, str] = {}
    for vector in VECTORS:
        secrets: list[tuple[int | None, bytes]] = [(None, vector.secret.encode())]
        secrets += list(enumerate(changed(vector.secret.encode())))
        for wrong, secret in secrets:
            variable = f"SECRET_{len(environ)}"
            environ[variable] = secret.decode()
            entries[source_name(vector, wrong)] = {"recipe": vector.recipe, "secrets": [f"${{{variable}}}"]}
            if vector.recipe in SIGN_THE_ADDRESS:
                entries[source_name(vector, wrong)]["url"] = vector.url
    return yaml.safe_dump({"sources": entries}), environ


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway with all those sources."""
    sources, environ = all_sources()
    async with running_gateway(
        tmp_path_factory.mktemp("gateway"), sources=sources, environ=environ
    ) as running:
        yield running


def delivery(
    vector: Vector,
    *,
    body: bytes | None = None,
    headers: Mapping[str, bytes] | None = None,
    wrong_secret: int | None = None,
) -> bytes:
    """Return the vector as a request, or a changed one."""
    sent = {name: value.encode() for name, value in vector.headers.items()} | dict(headers or {})
    _, mark, query = vector.url.partition("?")
    path = f"/webhooks/{source_name(vector, wrong_secret)}" + (f"?{query}" if mark else "")
    return request("POST", path, sent.items(), vector.body if body is None else body)


async def answers(gateway: RunningGateway, vector: Vector, requests: list[bytes]) -> set[int]:
    """Return the different statuses that requests get at the vector's time."""
    with time_machine.travel(vector.received, tick=True):
        return set(await statuses(gateway.port, requests))


@each_vector
async def test_it_is_accepted_and_kept(gateway: RunningGateway, vector: Vector) -> None:
    """2xx at the time at which it was signed, and there is an event of it in the inbox."""
    received = (await gateway.house.inbox.totals()).get("received", 0)
    (status,) = await answers(gateway, vector, [delivery(vector)])
    assert status in (200, 202)
    assert (await gateway.house.inbox.totals())["received"] > received


@each_vector
async def test_any_changed_byte_is_401(gateway: RunningGateway, vector: Vector) -> None:
    """Of the body, the signature, the timestamp or the secret; nothing of it gets into the inbox."""
    received = (await gateway.house.inbox.totals()).get("received", 0)
    requests = [
        delivery(vector, body=body) for body in changed(vector.body) if not is_same_form(vector, body)
    ]
    for name in (vector.signature, *([vector.timestamp] if vector.timestamp else [])):
        requests += [
            delivery(vector, headers={name: value})
            for value in changed(vector.headers[name].encode())
            if not is_the_other_signature(vector, value)
        ]
    requests += [delivery(vector, wrong_secret=at) for at in range(len(vector.secret.encode()))]
    assert await answers(gateway, vector, requests) == {401}
    assert (await gateway.house.inbox.totals()).get("received", 0) == received


def is_same_form(vector: Vector, body: bytes) -> bool:
    """Return whether a form's fields are the same: Twilio signs those, so `%2b` is as good as `%2B`."""
    return vector.name == "twilio-form" and body.upper() == vector.body.upper()


def is_the_other_signature(vector: Vector, value: bytes) -> bool:
    """Return whether the change hit the first signature of Paddle's two, which is not valid anyway."""
    header = vector.headers[vector.signature].encode()
    return vector.name == "paddle-rotation" and (value[:13], value[24:]) == (header[:13], header[24:])


async def test_an_old_signature_is_401(gateway: RunningGateway) -> None:
    """A day after its time, a signature that says when it was made is refused."""
    for vector in VECTORS:
        if vector.timestamp is None or vector.recipe == "sendgrid":
            continue
        with time_machine.travel(vector.received.timestamp() + 86_400, tick=True):
            assert await statuses(gateway.port, [delivery(vector)]) == [401], vector.name
