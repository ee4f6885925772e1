"""Verification: does a request carry a signature that one of the source's secrets makes? Pure.

What is compared is always the one canonical text of a signature, in constant time: two texts that decode
to the same bytes are not two valid signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from hookline.errors import Refusal
from hookline.sources.recipe import Algorithm, Key, Scheme
from hookline.sources.secret import DECODERS, Secret, UnusableSecret, make_key
from hookline.sources.template import SignedTemplate, as_text, compile_place
from hookline.sources.visit import Visit

#: Of a header that lists signatures, this many are tried.
MAX_SIGNATURES = 16

_DIGITS = re.compile(r"[0-9]{1,16}")
_HASHES = {
    Algorithm.HMAC_SHA1: "sha1",
    Algorithm.HMAC_SHA256: "sha256",
    Algorithm.HMAC_SHA384: "sha384",
    Algorithm.HMAC_SHA512: "sha512",
}


class Verifier(Protocol):
    """Holds a request against the secrets of one scheme."""

    def verify(self, visit: Visit) -> str | None:
        """Return how the request was verified, for people, or None where no secret fits.

        Raises
        ------
        Refusal: 401, the request cannot be verified at all.
        """

    def prove(self, text: str) -> str | None:
        """Return a text signed with the first secret, for handshakes that ask for it."""


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {"hex": binascii.hexlify, "base64": base64.b64encode}


class PreparingVerifier(Verifier, Protocol):
    """A verifier that may have to fetch a key before it can verify."""

    async def prepare(self, visit: Visit) -> None:
        """Fetch what `verify` will need, unless it is there.

        Raises
        ------
        Refusal: 401 where the request names no key that can be trusted, 503 where it cannot be fetched.
        """


class SignatureReader:
    """Finds the signatures of a request and the named parts of the header they stand in."""

    def __init__(self, scheme: Scheme) -> None:
        rule = scheme.signature
        assert rule is not None, "the recipe model requires it for these algorithms"  # noqa: S101 # for types
        self._headers = tuple(name.lower().encode() for name in rule.header)
        self._place = compile_place(rule.place) if rule.place else None
        self._split = rule.split.encode()
        self._prefix = rule.prefix.encode()

    def read(self, visit: Visit) -> list[bytes]:
        """Return the signatures as they are written.

        Raises
        ------
        Refusal: 401, there is none, or too many.
        """
        get = visit.knock.headers.raw_value
        values = [value for name in self._headers if (value := get(name)) is not None]
        if not values and self._place is not None:
            text = as_text(self._place(visit))
            values = [] if text is None else [text.encode("utf-8", "replace")]
        if self._split:
            values = [part.strip() for value in values for part in value.split(self._split)]
        prefix = self._prefix
        found = [value[len(prefix) :] for value in values if value.startswith(prefix)] if prefix else values
        if not found:
            raise Refusal(401, "no-signature", f"The request has no signature; {self._where()}.")
        if len(found) > MAX_SIGNATURES:
            raise Refusal(401, "bad-signature", f"More than {MAX_SIGNATURES} signatures.")
        return found

    def pair(self, visit: Visit, name: str) -> str | None:
        """Return the part `name=value` of the signature header."""
        start = name.encode() + b"="
        for header in self._headers:
            for part in (visit.knock.headers.raw_value(header) or b"").split(self._split or b","):
                if part.strip().startswith(start):
                    return part.strip()[len(start) :].decode("latin-1")
        return None

    def _where(self) -> str:
        name = ", ".join(header.decode() for header in self._headers) or "the body"
        part = f", in a part that begins with `{self._prefix.decode()}`" if self._prefix else ""
        return f"it is expected in {name}{part}"


class Clock:
    """Checks the time of signing."""

    def __init__(self, scheme: Scheme) -> None:
        rule = scheme.timestamp
        assert rule is not None, "made for schemes with a timestamp only"  # noqa: S101 # for types
        self._find = compile_place(rule.place)
        self._unit = rule.unit
        self._past = rule.past.total_seconds()
        self._future = rule.future.total_seconds()
        self._optional = rule.optional

    def check(self, visit: Visit) -> None:
        """Put the timestamp into the visit if it is near enough to now.

        Raises
        ------
        Refusal: 401, missing, malformed, or too far off.
        """
        text = as_text(self._find(visit))
        if text is None:
            if self._optional:
                return
            raise Refusal(401, "no-timestamp", "The request has no signed timestamp.")
        seconds = self._seconds(text)
        age = visit.knock.received.timestamp() - seconds
        if age > self._past or age < -self._future:
            raise Refusal(
                401, "stale", "The signed timestamp is too far from this server's clock; check both clocks."
            )
        visit.timestamp = text

    def _seconds(self, text: str) -> float:
        if self._unit == "rfc3339":
            try:
                moment = datetime.fromisoformat(text)
                if moment.tzinfo is not None:
                    return moment.timestamp()
            except (ValueError, OverflowError):
                pass
        elif _DIGITS.fullmatch(text):
            return int(text) / (1000 if self._unit == "ms" else 1)
        raise Refusal(401, "bad-timestamp", "The signed timestamp is malformed.")


class _Signed:
    """What verifiers share that read a signature over a template."""

    def __init__(self, scheme: Scheme) -> None:
        self._reader = SignatureReader(scheme)
        self._clock = Clock(scheme) if scheme.timestamp else None
        self._sign = SignedTemplate(scheme.sign)
        self._untimed = SignedTemplate(scheme.sign_untimed) if scheme.sign_untimed else None
        self._encoding = scheme.signature.encoding if scheme.signature else "hex"

    def signatures_and_message(self, visit: Visit) -> tuple[list[bytes], bytes]:
        """Return the signatures and the bytes they should cover."""
        visit.reader = self._reader
        found = self._reader.read(visit)
        if self._clock is not None:
            self._clock.check(visit)
        template = self._untimed if self._untimed is not None and visit.timestamp is None else self._sign
        message = template.render(visit)
        if message is None:
            raise Refusal(401, "no-signature", f"A part of what is signed is missing: `{template.text}`.")
        return found, message


class DigestVerifier(_Signed):
    """HMAC, and the plain digest over secret and content."""

    def __init__(self, scheme: Scheme, secrets: Sequence[Secret]) -> None:
        super().__init__(scheme)
        self._keys = [make_key(secret, scheme.key) for secret in secrets]
        hash_name = _HASHES.get(scheme.algorithm)
        # `hmac.digest` gives up the interpreter for each message, and gets it back only when the inbox's
        # writer lets go of it; a keyed hash that is copied does that for large messages alone.
        self._keyed = [hmac.new(key, digestmod=hash_name) for key in self._keys] if hash_name else None
        self._encode = _ENCODERS[self._encoding]
        self._verdicts = verdicts(scheme.algorithm, len(secrets))

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        found, message = self.signatures_and_message(visit)
        for number in range(len(self._keys)):
            expected = self._digest(number, message)
            for given in found:
                if hmac.compare_digest(expected, given):
                    return self._verdicts[number]
        return None

    def prove(self, text: str) -> str | None:
        """As in `Verifier`."""
        return self._digest(0, text.encode("utf-8", "replace")).decode()

    def _digest(self, number: int, message: bytes) -> bytes:
        if self._keyed is None:
            return self._encode(hashlib.sha256(self._keys[number] + message).digest())
        keyed = self._keyed[number].copy()
        keyed.update(message)
        return self._encode(keyed.digest())


class PublicKeyVerifier(_Signed):
    """ed25519 and ECDSA P-256, where the source's secret is the provider's public key."""

    def __init__(self, scheme: Scheme, secrets: Sequence[Secret]) -> None:
        super().__init__(scheme)
        load = _load_ed25519 if scheme.algorithm is Algorithm.ED25519 else _load_p256
        self._checks = [load(secret, scheme.key) for secret in secrets]
        self._verdicts = verdicts(scheme.algorithm, len(secrets))

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        found, message = self.signatures_and_message(visit)
        encode, decode = _ENCODERS[self._encoding], DECODERS[self._encoding]
        for given in found:
            try:
                signature = decode(given)
            except (ValueError, binascii.Error):
                continue
            if encode(signature) != given:
                continue
            for number, check in enumerate(self._checks):
                if check(signature, message):
                    return self._verdicts[number]
        return None

    def prove(self, text: str) -> str | None:
        """Nothing can be signed with a public key."""
        return None


def _load_ed25519(secret: Secret, rule: Key) -> Callable[[bytes, bytes], bool]:
    try:
        key = Ed25519PublicKey.from_public_bytes(make_key(secret, rule))
    except UnusableSecret:
        raise
    except ValueError:
        raise UnusableSecret(f"{secret.origin} is no ed25519 public key of 32 bytes") from None
    return lambda signature, message: _holds(key.verify, signature, message)


def _load_p256(secret: Secret, rule: Key) -> Callable[[bytes, bytes], bool]:
    try:
        if secret.text.lstrip().startswith("-----BEGIN"):
            key = load_pem_public_key(secret.text.encode())
        else:
            key = load_der_public_key(make_key(secret, rule))
    except UnusableSecret:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableSecret(f"{secret.origin} is no public key") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise UnusableSecret(f"{secret.origin} is no P-256 public key")
    algorithm = ECDSA(SHA256())
    return lambda signature, message: _holds(key.verify, signature, message, algorithm)


def _holds(verify: Callable[..., None], *arguments: Any) -> bool:
    try:
        verify(*arguments)
    except InvalidSignature:
        return False
    return True


class TokenVerifier:
    """A header that holds the secret itself, and HTTP Basic."""

    def __init__(self, scheme: Scheme, secrets: Sequence[Secret]) -> None:
        basic = scheme.algorithm is Algorithm.BASIC
        rule = scheme.signature
        self._header = rule.header[0].lower().encode() if rule and rule.header else b"authorization"
        self._prefix = rule.prefix.lower().encode() if rule and not basic else b"basic "
        self._place = compile_place(rule.place) if rule and rule.place else None
        keys = [make_key(secret, scheme.key) for secret in secrets]
        if basic:
            for secret in secrets:
                if ":" not in secret.text:
                    raise UnusableSecret(f"{secret.origin} is not `user:password`")
            keys = [base64.b64encode(key) for key in keys]
        self._keys = keys
        bearer = {"WWW-Authenticate": "Bearer"} if self._header == b"authorization" else None
        self._challenge = {"WWW-Authenticate": 'Basic realm="hookline"'} if basic else bearer
        self._verdicts = verdicts(scheme.algorithm, len(secrets))

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        given = self._given(visit)
        for number, key in enumerate(self._keys):
            if hmac.compare_digest(key, given):
                return self._verdicts[number]
        return None

    def prove(self, text: str) -> str | None:
        """A token signs nothing."""
        return None

    def _given(self, visit: Visit) -> bytes:
        value = visit.knock.headers.raw_value(self._header)
        # The word before a token, such as `Bearer`, is written in any case.
        if value is not None and value[: len(self._prefix)].lower() == self._prefix:
            return value[len(self._prefix) :].strip()
        text = as_text(self._place(visit)) if self._place else None
        if text is None:
            detail = f"The request has no token; it is expected in {self._header.decode()}."
            raise Refusal(401, "no-signature", detail, headers=self._challenge)
        return text.encode("utf-8", "replace")


def verdicts(algorithm: Algorithm, count: int) -> list[str]:
    """Return the sentence for each secret, made once."""
    return [f"{algorithm}, secret {number} of {count}" for number in range(1, count + 1)]


class UrlTokenVerifier:
    """Nothing but the opaque part of the URL, which the source has checked before it comes to verifying."""

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        return str(Algorithm.URL_TOKEN)

    def prove(self, text: str) -> str | None:
        """There is no key."""
        return None
