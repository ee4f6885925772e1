"""Handshakes: what a provider asks before it sends events, and the answer it wants. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

import orjson

from hookline.errors import Refusal
from hookline.knock import Handshake, Reply
from hookline.sources.recipe import HandshakeRule
from hookline.sources.secret import Secret
from hookline.sources.template import Template, as_text, compile_place
from hookline.sources.visit import Visit

# An answer may repeat what a stranger sent: it must never be taken for a page or a script.
_HEADERS = (("X-Content-Type-Options", "nosniff"),)


class HandshakeAnswer:
    """A handshake rule, compiled.

    Parameters
    ----------
    rule: the recipe's rule.
    verify_tokens: the source's verify tokens, for rules that ask for one.
    """

    def __init__(self, rule: HandshakeRule, verify_tokens: Sequence[Secret] = ()) -> None:
        self.signed = rule.signed
        self.name = rule.name
        self.method = rule.match.method
        self._equals = [(compile_place(place), value) for place, value in rule.match.equals.items()]
        self._present = [compile_place(place) for place in rule.match.present]
        self._absent = [compile_place(place) for place in rule.match.absent]
        self._token_place = compile_place(rule.match.verify_token) if rule.match.verify_token else None
        self._tokens = verify_tokens
        self._visit = compile_place(rule.visit) if rule.visit else None
        respond = rule.respond
        self._status = respond.status
        self._body = None if respond.body is None else Template(respond.body)
        self._json = None if respond.json_body is None else _compile_json(respond.json_body)
        self._headers = [(name, Template(text)) for name, text in respond.headers.items()]

    def answer(self, visit: Visit) -> Handshake | None:
        """Return the answer, or None where the request is not this handshake.

        Raises
        ------
        Refusal: it is this handshake, but its verify token or a part of it is wrong.
        """
        if visit.knock.method != self.method and not (visit.knock.method == "HEAD" and self.method == "GET"):
            return None
        if any(find(visit) != value for find, value in self._equals):
            return None
        if any(find(visit) in (None, "") for find in self._present):
            return None
        if any(find(visit) is not None for find in self._absent):
            return None
        if self._token_place is not None:
            self._check_token(as_text(self._token_place(visit)) or "")
        return Handshake(self.name, self._reply(visit))

    def address_to_visit(self, visit: Visit) -> str | None:
        """Return the address that has to be fetched to confirm, where the handshake asks for that."""
        return as_text(self._visit(visit)) if self._visit else None

    def _check_token(self, given: str) -> None:
        if not self._tokens:
            raise Refusal(503, "no-secret", f"{self.name}: the source has no `verify_tokens` that is set.")
        given_bytes = given.encode("utf-8", "surrogatepass")
        fits = [hmac.compare_digest(token.text.encode(), given_bytes) for token in self._tokens]
        if not any(fits):
            raise Refusal(401, "bad-token", f"{self.name}: the verify token is wrong.")

    def _reply(self, visit: Visit) -> Reply:
        body = b""
        headers: tuple[tuple[str, str], ...] = _HEADERS
        if self._json is not None:
            body = orjson.dumps(_render_json(self._json, visit))
            headers += (("Content-Type", "application/json"),)
        elif self._body is not None:
            text = self._body.render(visit)
            if text is None:
                raise Refusal(400, "bad-handshake", f"{self.name}: a part that the answer needs is missing.")
            body = text.encode("utf-8", "replace")
            headers += (("Content-Type", "text/plain; charset=utf-8"),)
        for name, template in self._headers:
            value = template.render(visit)
            if value is not None and value.isprintable() and value.isascii():
                headers += ((name, value),)
        return Reply(self._status, headers, body)


def _compile_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _compile_json(each) for key, each in value.items()}
    return Template(value) if isinstance(value, str) else value


def _render_json(value: Any, visit: Visit) -> Any:
    if isinstance(value, dict):
        return {key: _render_json(each, visit) for key, each in value.items()}
    if not isinstance(value, Template):
        return value
    found = value.find(visit)
    if as_text(found) is None:
        raise Refusal(400, "bad-handshake", f"A part that the answer needs is missing: `{value.text}`.")
    return found
