"""Flows that write down what they were given. Nothing here knows of Hookline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import BaseModel, Field


class Order(BaseModel):
    """An order with fields that Prefect would interpret."""

    number: int
    reference: Any = Field(alias="$ref")
    more: dict[str, Any] = {}


@flow
def told(untyped, typed: dict, order: Order, texts: list, block, into: str) -> None:  # type: ignore[no-untyped-def]
    given = {
        "untyped": untyped,
        "typed": typed,
        "order": order.model_dump(by_alias=True),
        "texts": texts,
        "block": block.get(),
    }
    Path(into).write_text(json.dumps(given))


@flow(validate_parameters=False)
async def told_unchecked(untyped, into: str) -> None:  # type: ignore[no-untyped-def]
    Path(into).write_text(json.dumps({"untyped": untyped}))  # noqa: ASYNC240 # a line in a test
