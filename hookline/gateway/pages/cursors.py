"""Where a page of a list begins: the ids in its address."""

from __future__ import annotations

import re

from hookline.errors import Refusal
from hookline.gateway.exchange import Exchange

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def read_id(exchange: Exchange, name: str) -> str | None:
    """Return the id that a parameter holds, if it is there.

    Raises
    ------
    Refusal: 400, it is no id.
    """
    given = exchange.query(name)
    if not given:
        return None
    if _ID.fullmatch(given) is None:
        raise Refusal(400, "bad-query", f"{name} is not an id, such as the links of these pages hold.")
    return given
