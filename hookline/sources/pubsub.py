"""Google Pub/Sub push: an OIDC token, signed by Google, that names our audience and their service account."""

from __future__ import annotations

from typing import Any

import jwt
import orjson

from hookline.errors import Refusal
from hookline.sources.fetch import Fetch, FetchError
from hookline.sources.visit import Visit

KEYS_URL = "https://www.googleapis.com/oauth2/v3/certs"
_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_LEEWAY_SECONDS = 10
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
#: Keys are fetched no more often, so that made-up key ids cannot make us ask Google all the time.
_PAUSE_SECONDS = 60.0
_KEPT_SECONDS = 3600.0


class PubSubVerifier:
    """Verifies the bearer token of a push.

    Parameters
    ----------
    audience: what the subscription's token is made out to.
    email: the service account that the subscription signs as.
    fetch: fetches Google's keys.
    """

    def __init__(self, audience: str, email: str, fetch: Fetch) -> None:
        self._audience = audience
        self._email = email
        self._fetch = fetch
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._kept_seconds = 0.0

    async def prepare(self, visit: Visit) -> None:
        """Fetch Google's keys, unless the one that the token names is there and fresh.

        Raises
        ------
        Refusal: 401 where there is no token, 503 where Google cannot be reached.
        """
        key_id = self._key_id(self._token(visit))
        now = visit.knock.received.timestamp()
        age = now - self._fetched_at
        if (key_id in self._keys and age < self._kept_seconds) or age < _PAUSE_SECONDS:
            return
        try:
            fetched = await self._fetch(KEYS_URL)
            keys = _read_keys(fetched.body)
        except (FetchError, ValueError) as wrong:
            if key_id in self._keys:
                # Google is away for a moment: the keys we have are still Google's.
                return
            raise Refusal(
                503, "no-keys", "Google's keys cannot be fetched just now.", headers={"Retry-After": "10"}
            ) from wrong
        self._keys = keys
        self._fetched_at = now
        self._kept_seconds = (
            max(fetched.max_age_seconds, _PAUSE_SECONDS) if fetched.max_age_seconds else _KEPT_SECONDS
        )

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        token = self._token(visit)
        key = self._keys.get(self._key_id(token))
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._audience,
                # Held against the knock's clock below.
                options={
                    "require": ["exp", "iat", "aud", "iss"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        self._check_claims(claims, visit.knock.received.timestamp())
        return f"google oidc, {self._email}"

    def prove(self, text: str) -> str | None:
        """Nothing can be signed with a public key."""
        return None

    def _check_claims(self, claims: dict[str, Any], now: float) -> None:
        issued, expires = claims["iat"], claims["exp"]
        if not all(type(each) in (int, float) for each in (issued, expires)):
            raise Refusal(401, "bad-signature", "The token's times are no numbers.", headers=_CHALLENGE)
        if now > expires + _LEEWAY_SECONDS or now < issued - _LEEWAY_SECONDS:
            raise Refusal(401, "stale", "The token has expired, or is not valid yet.", headers=_CHALLENGE)
        if claims["iss"] not in _ISSUERS:
            raise Refusal(401, "bad-signature", "The token is not from Google.", headers=_CHALLENGE)
        if claims.get("email_verified") is not True or claims.get("email") != self._email:
            raise Refusal(401, "bad-signature", "The token is another account's.", headers=_CHALLENGE)

    def _token(self, visit: Visit) -> str:
        value = visit.knock.headers.raw_value(b"authorization") or b""
        if value[:7].lower() != b"bearer ":
            raise Refusal(401, "no-signature", "The request has no bearer token.", headers=_CHALLENGE)
        return value[7:].strip().decode("latin-1")

    def _key_id(self, token: str) -> str:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError, TypeError):
            key_id = None
        if not isinstance(key_id, str):
            raise Refusal(401, "bad-signature", "The bearer token is no signed JWT.", headers=_CHALLENGE)
        return key_id


def _read_keys(body: bytes) -> dict[str, Any]:
    document = orjson.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("no key set")
    try:
        return {each["kid"]: jwt.PyJWK(each, algorithm="RS256").key for each in document["keys"]}
    except (jwt.PyJWTError, KeyError, TypeError, AttributeError):
        raise ValueError("no key set") from None
