"""One request to the API, apart from the doors' hot path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from hookline.errors import Refusal
from hookline.gateway.access import Caller
from hookline.sources import Headers

if TYPE_CHECKING:
    from hookline.gateway.house import House

_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with its path's parts.

    Parameters
    ----------
    scope, receive: as ASGI gives them.
    headers: the received headers.
    path: the named parts of the path.
    """

    scope: Scope
    receive: Receive
    headers: Headers
    path: Mapping[str, str]

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter.

        Raises
        ------
        Refusal: 400, it holds control characters, which nothing that is looked for has.
        """
        values = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True).get(name)
        if not values:
            return None
        value: str = values[0]
        if _CONTROL.search(value):
            raise Refusal(400, "bad-query", f"{name} holds control characters.")
        return value

    def caller(self, house: House) -> Caller:
        """Return who makes the request.

        Raises
        ------
        Refusal: 401.
        """
        return house.access.identify(self.headers, self.query("access_token"))
