"""Twilio: HMAC-SHA1 over the address and the form, or over an address that names the body's digest."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit, urlunsplit

from hookline.body import check_form, form_pairs
from hookline.errors import Refusal
from hookline.sources.recipe import Algorithm, Key
from hookline.sources.secret import Secret, make_key
from hookline.sources.verify import verdicts
from hookline.sources.visit import Visit

_DEFAULT_PORTS = {"https": 443, "http": 80}


class TwilioVerifier:
    """Verifies `X-Twilio-Signature`; the secrets are auth tokens."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._keys = [make_key(secret, Key()) for secret in secrets]
        self._verdicts = verdicts(Algorithm.TWILIO, len(secrets))

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        given = visit.knock.headers.raw_value(b"x-twilio-signature")
        if given is None:
            raise Refusal(
                401, "no-signature", "The request has no signature; it is expected in x-twilio-signature."
            )
        ending = self._signed_form(visit)
        for number, key in enumerate(self._keys):
            for address in addresses(visit.url):
                message = address.encode("utf-8", "surrogatepass") + ending
                expected = base64.b64encode(hmac.digest(key, message, "sha1"))
                if hmac.compare_digest(expected, given):
                    return self._verdicts[number]
        return None

    def prove(self, text: str) -> str | None:
        """Twilio has no handshake."""
        return None

    def _signed_form(self, visit: Visit) -> bytes:
        """Return what the form adds to the signed text; a body that is no form is held to its digest."""
        knock = visit.knock
        digest = knock.query("bodySHA256")
        if digest is not None:
            actual = hashlib.sha256(knock.body).hexdigest().encode()
            if not hmac.compare_digest(actual, digest.encode("utf-8", "replace")):
                raise Refusal(401, "bad-signature", "The body is not the one whose digest was signed.")
            return b""
        check_form(knock.body)
        try:
            pairs = form_pairs(knock.body)
        except ValueError:
            raise Refusal(
                401, "bad-signature", "The body is no form, and its digest is not signed."
            ) from None
        return "".join(name + value for name, value in sorted(set(pairs))).encode("utf-8", "surrogatepass")


def addresses(url: str) -> list[str]:
    """Return the address as Twilio may have signed it: as it is, with the port, and without."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return [url]
    found = [url]
    default = _DEFAULT_PORTS.get(parts.scheme)
    if port is None and default is not None:
        found.append(_with_port(parts, f":{default}"))
    elif port is not None:
        found.append(_with_port(parts, ""))
    return found


def _with_port(parts: SplitResult, port: str) -> str:
    userinfo, at, host = parts.netloc.rpartition("@")
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    return urlunsplit(parts._replace(netloc=f"{userinfo}{at}{name}{port}"))
