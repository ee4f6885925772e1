"""JSON Schemas bound what they take, whatever a sender writes into an event that is held against them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from hookline.errors import Refusal
from hookline.sources import schema as schemas
from hookline.sources.schema import Schema, SchemaError
from tests.support.holding import held

TOO_LONG_SECONDS = 0.05
TWO_WAYS = {
    "anyOf": [
        {"properties": {"n": {"$ref": "#"}}, "required": ["n"]},
        {"properties": {"n": {"$ref": "#"}}, "required": ["n"], "minProperties": 1},
    ]
}
MANY = {"items": {"anyOf": [{"const": number} for number in range(1_000)]}}


def nested(depth: int) -> Any:
    data: Any = {"t": 1}
    for _ in range(depth):
        data = {"n": data}
    return data


async def refusal(schema: Schema, data: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await schema.check(data, "door.order")
    return refused.value


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(?<!x)y"])
def test_a_pattern_that_may_search_for_ever_is_refused_when_it_is_loaded(pattern: str) -> None:
    """With the pattern, and what may not be in it."""
    with pytest.raises(SchemaError, match="look ahead or back") as refused:
        Schema({"properties": {"name": {"pattern": pattern}}})
    assert str(refused.value).splitlines()[0].count("cannot be used as a pattern") == 1


async def test_a_pattern_that_could_go_back_takes_linear_time() -> None:
    """The classic one, over a text that almost fits."""
    schema = Schema({"items": {"pattern": "^(a+)+$"}})
    with held() as hold:
        refused = await refusal(schema, ["a" * 5_000 + "!"] * 10)
    assert refused.pointer == "/0"
    assert hold.seconds < TOO_LONG_SECONDS


@pytest.mark.parametrize(
    ("document", "data"),
    [
        (TWO_WAYS, nested(60)),
        (MANY, [-1] * 5_000),
        ({"items": {"enum": list(range(5_000))}}, [5_001] * 20_000),
        ({"items": {"items": {"type": "integer"}}}, [["x"] * 1_000] * 300),
        ({"uniqueItems": True}, [number + 0.5 for number in range(150_000)]),
    ],
)
async def test_the_loop_goes_on_while_an_event_is_held_against_its_schema(document: Any, data: Any) -> None:
    """However long that takes, and whatever comes of it."""
    schema = Schema(document)
    stalls: list[float] = []

    async def watch() -> None:
        while True:
            since = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - since)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    with contextlib.suppress(Refusal):
        await schema.check(data, "door.order")
    watching.cancel()
    assert max(stalls) < TOO_LONG_SECONDS


async def test_what_takes_too_long_is_refused_with_the_reason() -> None:
    """To the sender, who can read it; and it is counted as a rejection like any other."""
    refused = await refusal(Schema(MANY), [999] * 100_000)
    assert refused.status == 422
    assert "more than 1 s of processor time" in refused.detail


async def test_the_evaluator_finds_the_same_fault() -> None:
    """The pointer and the rule do not depend on where they are looked for."""
    schema = Schema({"properties": {"a": {"items": {"type": "integer"}}}})
    large = await refusal(schema, {"a": [1] * 50_000 + ["x"]})
    assert (large.pointer, "`properties/a/items/type` fails" in large.detail) == ("/a/50000", True)


async def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told to come again, instead of filling the gateway's memory."""
    monkeypatch.setattr(schemas, "WAITING", 2)
    schema, data = Schema(MANY), [999] * 5_000
    answers = await asyncio.gather(*(schema.check(data, "a") for _ in range(4)), return_exceptions=True)
    assert [isinstance(each, Refusal) and each.status == 503 for each in answers].count(True) == 2
