"""Signing like a provider: for tests, the ready-made curl, and `hookline sources test`. Pure.

This is written apart from `verify` on purpose, from the recipe alone: two that agree by sharing code prove
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from hookline.errors import SourcesError
from hookline.event import new_id, rfc3339
from hookline.sources.recipe import Algorithm, Recipe, Scheme
from hookline.sources.source import Source
from hookline.sources.template import as_text, walk

_PLACE = re.compile(r"\{([^{}]*)\}")
_HASHES = {
    Algorithm.HMAC_SHA1: hashlib.sha1,
    Algorithm.HMAC_SHA256: hashlib.sha256,
    Algorithm.HMAC_SHA384: hashlib.sha384,
    Algorithm.HMAC_SHA512: hashlib.sha512,
}


def sign(
    source: Source,
    body: bytes,
    now: datetime,
    *,
    kind: str = "test",
    id: str | None = None,
    url: str = "",
    content_type: str = "application/json",
) -> dict[str, str]:
    """Return the headers with which the source's provider would send a body.

    Parameters
    ----------
    source: the source; the first of its secrets signs.
    body: what is sent.
    now: the time of signing, aware.
    kind: the event's name in the provider's words, for providers that say it in a header.
    id: the delivery's id; a new one if there is none.
    url: where it is sent, for providers that sign the address.
    content_type: of the body.

    Raises
    ------
    SourcesError: the provider's signature cannot be made with what we hold, or there is no secret.
    """
    recipe = source.recipe
    scheme, text = _scheme_and_secret(source)
    headers = {"Content-Type": content_type}
    _name_event(headers, recipe, kind, id or new_id())
    if scheme is None:
        return headers
    if scheme.algorithm is Algorithm.BASIC:
        headers["Authorization"] = "Basic " + base64.b64encode(text.encode()).decode()
    elif scheme.algorithm is Algorithm.TOKEN:
        rule = scheme.signature
        header = rule.header[0] if rule and rule.header else "Authorization"
        headers[header] = (rule.prefix if rule else "") + text
    elif scheme.algorithm is Algorithm.TWILIO:
        form = "".join(name + value for name, value in sorted(set(parse_qsl(body.decode(), True))))
        mac = hmac.new(text.encode(), (url + form).encode(), hashlib.sha1)
        headers["X-Twilio-Signature"] = base64.b64encode(mac.digest()).decode()
    else:
        _sign_digest(headers, recipe, scheme, text, body, now, url)
    return headers


def sign_within(source: Source, data: Any) -> Any:
    """Return a body's data with its signature in it, where the provider puts that there; else as it is.

    Raises
    ------
    SourcesError: there is no secret.
    """
    scheme = source.recipe.schemes[0]
    rule = scheme.signature
    if rule is None or rule.header or rule.place is None:
        return data
    scheme, text = _signing(source)
    parts = [
        part if number % 2 == 0 else _found_in(data, _stamp_place(scheme) if part == "ts" else part)
        for number, part in enumerate(_PLACE.split(scheme.sign))
    ]
    digest = hmac.new(_key(scheme, text), "".join(parts).encode(), _HASHES[scheme.algorithm]).digest()
    *steps, last = rule.place.split(".")[1:]
    inner = data
    for step in steps:
        inner = inner[step]
    inner[last] = digest.hex() if rule.encoding == "hex" else base64.b64encode(digest).decode()
    return data


def _signing(source: Source) -> tuple[Scheme, str]:
    scheme, text = _scheme_and_secret(source)
    assert scheme is not None, "a signature in the body needs a secret"  # noqa: S101 # for types
    return scheme, text


def _stamp_place(scheme: Scheme) -> str:
    return scheme.timestamp.place if scheme.timestamp else ""


def _found_in(data: Any, place: str) -> str:
    return as_text(walk(data, tuple(place.split(".")[1:]))) or ""


def _scheme_and_secret(source: Source) -> tuple[Scheme | None, str]:
    for secret in source.secrets:
        for scheme in source.recipe.schemes:
            if not scheme.algorithm.needs_secret or scheme.algorithm.public_key:
                continue
            if not scheme.key.required or secret.text.startswith(scheme.key.prefix):
                return scheme, secret.text.removeprefix(scheme.key.prefix)
    if any(scheme.algorithm is Algorithm.URL_TOKEN for scheme in source.recipe.schemes) and source.tokens:
        return None, ""
    if source.missing:
        raise SourcesError(f"Source `{source.name}` cannot be signed for: set {' or '.join(source.missing)}.")
    raise SourcesError(f"Source `{source.name}` cannot be signed for: only its sender has the key.")


def _name_event(headers: dict[str, str], recipe: Recipe, kind: str, delivery: str) -> None:
    """Put the delivery's id and the event's name where the recipe looks for them first."""
    for template, value in ((recipe.id, delivery), (recipe.type[0] if recipe.type else None, kind)):
        for place in _PLACE.findall(template or ""):
            first = place.split("|")[0]
            if first.startswith("header."):
                headers[first.removeprefix("header.")] = value


def _sign_digest(
    headers: dict[str, str], recipe: Recipe, scheme: Scheme, text: str, body: bytes, now: datetime, url: str
) -> None:
    rule = scheme.signature
    if rule is None or not rule.header:
        if rule is not None and rule.place is not None and _signed_within(body, rule.place):
            return
        raise SourcesError("The signature is part of the body, which was given; it cannot be added.")
    stamp = _stamp(scheme, now)
    pair = ""
    if scheme.timestamp is not None:
        place = scheme.timestamp.place.split("|")[0]
        if place.startswith("header."):
            headers[place.removeprefix("header.")] = stamp
        elif place.startswith("pair."):
            pair = f"{place.removeprefix('pair.')}={stamp}{rule.split or ','}"
    message = _message(headers, recipe, scheme, body, stamp, url)
    key = _key(scheme, text)
    if scheme.algorithm is Algorithm.SHA256:
        digest = hashlib.sha256(key + message).digest()
    else:
        digest = hmac.new(key, message, _HASHES[scheme.algorithm]).digest()
    encoded = digest.hex() if rule.encoding == "hex" else base64.b64encode(digest).decode()
    headers[rule.header[0]] = f"{pair}{rule.prefix}{encoded}"


def _signed_within(body: bytes, place: str) -> bool:
    try:
        return bool(_found_in(json.loads(body), place))
    except ValueError:
        return False


def _message(
    headers: dict[str, str], recipe: Recipe, scheme: Scheme, body: bytes, stamp: str, url: str
) -> bytes:
    delivery = ""
    if recipe.id is not None:
        places = _PLACE.findall(recipe.id)
        delivery = headers.get(places[0].split("|")[0].removeprefix("header."), "") if places else ""
    known = {
        "body": body,
        "escaped_body": _escaped(body) if "{escaped_body}" in scheme.sign else b"",
        "ts": stamp.encode(),
        "id": delivery.encode(),
        "url": url.encode(),
        "method": b"POST",
    }
    message = b""
    for number, part in enumerate(_PLACE.split(scheme.sign)):
        if number % 2 == 0:
            message += part.encode()
        elif part in known:
            message += known[part]
        elif part.startswith("header."):
            message += headers.setdefault(part.removeprefix("header."), stamp).encode()
        else:
            raise SourcesError(f"The signature covers `{part}`, which is part of the body.")
    return message


def _escaped(body: bytes) -> bytes:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise SourcesError("The body is not UTF-8, which this provider's signature needs.") from None
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text).encode()


def _key(scheme: Scheme, text: str) -> bytes:
    if scheme.key.encoding == "base64":
        return base64.b64decode(text)
    return bytes.fromhex(text) if scheme.key.encoding == "hex" else text.encode()


def _stamp(scheme: Scheme, now: datetime) -> str:
    unit = scheme.timestamp.unit if scheme.timestamp else "s"
    if unit == "rfc3339":
        return rfc3339(now)
    return str(int(now.timestamp() * (1000 if unit == "ms" else 1)))
