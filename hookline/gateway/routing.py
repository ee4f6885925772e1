"""From method and path to whoever answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from hookline.errors import Refusal
from hookline.gateway.operations import Route


class _Path:
    """A compiled path with the routes of its methods."""

    def __init__(self, path: str) -> None:
        self.pattern = re.compile(re.sub(r"\{(\w+)(\*?)\}", _group, path))
        self.routes: dict[str, Route] = {}
        self.methods: set[str] = set()


def _group(part: re.Match[str]) -> str:
    return f"(?P<{part[1]}>{'.+' if part[2] else '[^/]+'})"


class Table:
    """Who answers what.

    Parameters
    ----------
    routes: where two paths fit, the first one counts.
    elsewhere: methods and paths that are answered without the table.
    """

    def __init__(self, routes: Iterable[Route], elsewhere: Iterable[tuple[str, str]] = ()) -> None:
        self._paths: dict[str, _Path] = {}
        for route in routes:
            path = self._paths.setdefault(route.path, _Path(route.path))
            path.routes[route.method] = route
            path.methods |= {route.method, "HEAD"} if route.method == "GET" else {route.method}
        for method, written in elsewhere:
            if written in self._paths:
                self._paths[written].methods.add(method)

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """Return the route and the parts of the path.

        Parameters
        ----------
        method: in upper case.
        raw_path: as it came: a slash that is written %2F separates nothing.

        Raises
        ------
        Refusal: 404, nothing is there; 405, with what is allowed.
        """
        path = raw_path.decode("latin-1")
        wanted = "GET" if method == "HEAD" else method
        for each in self._paths.values():
            found = each.pattern.fullmatch(path)
            if found is None:
                continue
            route = each.routes.get(wanted)
            if route is None:
                raise not_allowed(method, each.methods)
            parts = {name: unquote(part) for name, part in found.groupdict().items()}
            if not all(part.isprintable() for part in parts.values()):
                break
            return route, parts
        raise Refusal(404, "not-found", "There is nothing at this address; see /docs.")


def not_allowed(method: str, allowed: Iterable[str]) -> Refusal:
    """Return the refusal of a method, with those that are allowed."""
    names = ", ".join(sorted(allowed))
    return Refusal(
        405, "method", f"{method} is not allowed here; allowed: {names}.", headers={"allow": names}
    )
