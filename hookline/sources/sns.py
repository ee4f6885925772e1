"""AWS SNS: RSA over chosen fields of the JSON, by a certificate that AWS publishes."""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from hookline.errors import Refusal
from hookline.sources.fetch import Fetch, FetchError
from hookline.sources.visit import Visit

_HOST = re.compile(r"sns\.[a-zA-Z0-9\-]{3,}\.amazonaws\.com(\.cn)?")
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SETUP = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_FIELDS = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _SETUP,
    "UnsubscribeConfirmation": _SETUP,
}
#: Certificates that are kept; AWS has one a region, exchanged now and then.
_KEPT = 16


class SnsVerifier:
    """Verifies notifications of the topics that are let in.

    Parameters
    ----------
    topics: their ARNs; anybody with an AWS account can sign for a topic of their own.
    fetch: fetches certificates.
    """

    def __init__(self, topics: Sequence[str], fetch: Fetch) -> None:
        self._topics = frozenset(topics)
        self._fetch = fetch
        self._certificates: OrderedDict[str, RSAPublicKey] = OrderedDict()

    async def prepare(self, visit: Visit) -> None:
        """Fetch the certificate that the message names, unless it is there.

        Raises
        ------
        Refusal: 401 where the message or its addresses cannot be trusted, 503 where AWS cannot be reached.
        """
        message = self._message(visit)
        address = message["SigningCertURL"]
        if address in self._certificates:
            self._certificates.move_to_end(address)
            return
        try:
            fetched = await self._fetch(address)
            key = x509.load_pem_x509_certificate(fetched.body).public_key()
        except FetchError as wrong:
            raise Refusal(
                503, "no-certificate", f"The signing certificate: {wrong}", headers={"Retry-After": "10"}
            ) from wrong
        except ValueError:
            raise Refusal(401, "bad-signature", "What SigningCertURL leads to is no certificate.") from None
        if not isinstance(key, RSAPublicKey):
            raise Refusal(401, "bad-signature", "The signing certificate holds no RSA key.")
        self._certificates[address] = key
        if len(self._certificates) > _KEPT:
            self._certificates.popitem(last=False)

    def verify(self, visit: Visit) -> str | None:
        """As in `Verifier`."""
        message = self._message(visit)
        key = self._certificates[message["SigningCertURL"]]
        algorithm = SHA256() if message["SignatureVersion"] == "2" else SHA1()  # noqa: S303 # version 1 is SHA-1
        try:
            signature = base64.b64decode(message["Signature"], validate=True)
            key.verify(signature, signed_text(message), PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error, ValueError):
            return None
        if base64.b64encode(signature).decode() != message["Signature"]:
            return None
        return f"sns, signature version {message['SignatureVersion']}"

    def prove(self, text: str) -> str | None:
        """Nothing can be signed with a public key."""
        return None

    def _message(self, visit: Visit) -> dict[str, str]:
        data = visit.data
        kind = data.get("Type") if isinstance(data, dict) else None
        if not isinstance(kind, str) or kind not in _FIELDS:
            raise Refusal(401, "no-signature", "The body is no SNS message.")
        needed = [name for name in _FIELDS[kind] if name != "Subject"]
        for name in (*needed, "Signature", "SignatureVersion", "SigningCertURL"):
            if not isinstance(data.get(name), str):
                raise Refusal(401, "no-signature", f"The SNS message has no {name}.")
        if not isinstance(data.get("Subject", ""), str | None):
            raise Refusal(401, "no-signature", "The SNS message's Subject is no text.")
        if data["SignatureVersion"] not in ("1", "2"):
            raise Refusal(401, "bad-signature", "The SignatureVersion is neither 1 nor 2.")
        if not from_aws(data["SigningCertURL"]) or not data["SigningCertURL"].endswith(".pem"):
            raise Refusal(401, "bad-signature", "SigningCertURL does not lead to AWS.")
        if data["TopicArn"] not in self._topics:
            raise Refusal(401, "unknown-topic", "The topic is not in the source's `topics`.")
        if "SubscribeURL" in needed and not from_aws(data["SubscribeURL"]):
            raise Refusal(401, "bad-signature", "SubscribeURL does not lead to AWS.")
        return cast(dict[str, str], data)


def from_aws(url: str) -> bool:
    """Return whether an address leads to SNS itself, over https and without tricks in its host."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and _HOST.fullmatch(parts.netloc) is not None and url.isprintable()
    except ValueError:
        return False


def signed_text(message: dict[str, Any]) -> bytes:
    """Return what SNS signs: names and values of the message's fields, a line each."""
    lines = [
        f"{name}\n{message[name]}\n" for name in _FIELDS[message["Type"]] if message.get(name) is not None
    ]
    return "".join(lines).encode()
