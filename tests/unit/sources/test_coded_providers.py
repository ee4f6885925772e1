"""The three providers that need code: Twilio's addresses, SNS's certificates, Pub/Sub's tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hookline.errors import Refusal
from hookline.sources import Handshake, Knock, Source
from hookline.sources.fetch import Fetched, FetchError
from hookline.sources.pubsub import KEYS_URL
from hookline.sources.twilio import addresses
from tests.unit.sources.cases import SECRET, b64, mac
from tests.unit.sources.support import NOW, draft, knock, receive, source_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOPIC = "arn:aws:sns:eu-central-1:123456789012:orders"
CERTIFICATE = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem"
CONFIRM = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
AUDIENCE = "https://hooks.example.com/webhooks/door"
EMAIL = "pusher@acme.iam.gserviceaccount.com"


def refusal(source: Source, request: Knock) -> Refusal:
    """Return how a request is refused."""
    with pytest.raises(Refusal) as refused:
        receive(source, request)
    return refused.value


@cache
def rsa_key() -> RSAPrivateKey:
    """Return the key of the tests' AWS and Google."""
    return generate_private_key(65537, 2048)


class Net:
    """A network that answers what it is told, and counts.

    Parameters
    ----------
    answers: bodies by address; what is not there cannot be fetched.
    """

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> Fetched:
        """Answer as `hookline.sources.fetch` does."""
        self.fetched.append(url)
        if url not in self.answers:
            raise FetchError("unreachable.")
        return Fetched(self.answers[url], 300.0)


# Twilio -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed", "seen"),
    [
        ("https://h.example.com/w?a=1", "https://h.example.com/w?a=1"),
        ("https://h.example.com:443/w?a=1", "https://h.example.com/w?a=1"),
        ("https://h.example.com/w?a=1", "https://h.example.com:443/w?a=1"),
        ("http://h.example.com/w", "http://h.example.com:8080/w"),
        ("https://[2001:db8::1]:443/w", "https://[2001:db8::1]/w"),
    ],
)
def test_twilio_may_sign_with_the_port_or_without(signed: str, seen: str) -> None:
    """The address is tried as it is, with the standard port, and without a port."""
    signature = b64(mac(signed + "A1B2B3", hash="sha1"))
    request = knock(b"B=3&A=1&B=2&B=3", {**FORM, "X-Twilio-Signature": signature}, url=seen)
    assert draft(source_of("twilio", SECRET), request).type == "twilio.unknown"


def test_twilio_at_another_address_is_refused() -> None:
    """A signature for another path, or another port that is not standard, does not fit."""
    source = source_of("twilio", SECRET)
    for signed in ("https://h.example.com/x", "https://h.example.com:8443/w", "http://h.example.com/w"):
        headers = {**FORM, "X-Twilio-Signature": b64(mac(signed, hash="sha1"))}
        assert refusal(source, knock(b"", headers, url="https://h.example.com/w")).status == 401


def test_the_configured_address_is_the_signed_one() -> None:
    """Behind a proxy that changes addresses, the source's `url` says what the provider signs."""
    source = source_of("twilio", SECRET, url="https://public.example.com/hook")
    headers = {**FORM, "X-Twilio-Signature": b64(mac("https://public.example.com/hook?q=1", hash="sha1"))}
    assert draft(source, knock(b"", headers, url="http://10.0.0.1:4280/webhooks/door?q=1"))


def test_a_json_body_must_be_the_one_whose_digest_is_signed() -> None:
    """The digest in the address is signed, and the body is held against it."""
    url = "https://h.example.com/w?bodySHA256=" + "0" * 64
    headers = {"Content-Type": "application/json", "X-Twilio-Signature": b64(mac(url, hash="sha1"))}
    assert refusal(source_of("twilio", SECRET), knock(b"{}", headers, url=url)).status == 401


def test_addresses_of_all_kinds_do_no_harm() -> None:
    """An address with a senseless port is tried as it is."""
    assert addresses("https://h.example.com:99999/") == ["https://h.example.com:99999/"]
    assert addresses("https://[::1]:5/") == ["https://[::1]:5/", "https://[::1]/"]


# AWS SNS ------------------------------------------------------------------------------------------


@cache
def certificate() -> bytes:
    """Return a certificate of the tests' AWS."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(rsa_key().public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
        .sign(rsa_key(), SHA256())
        .public_bytes(Encoding.PEM)
    )


def sns(version: str = "2", **changes: Any) -> dict[str, Any]:
    """Return an SNS message, signed as AWS documents it; changes come before the signature."""
    message: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "m-1",
        "TopicArn": TOPIC,
        "Subject": "Hello",
        "Message": '{"order": 1}',
        "Timestamp": "2026-11-24T03:00:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
    }
    message |= changes
    message = {name: value for name, value in message.items() if value is not None}
    names = ["Message", "MessageId"]
    names += ["Subject"] if message["Type"] == "Notification" and "Subject" in message else []
    names += ["SubscribeURL"] if message["Type"] != "Notification" else []
    names += ["Timestamp"]
    names += ["Token"] if message["Type"] != "Notification" else []
    names += ["TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names)
    algorithm = SHA256() if version == "2" else SHA1()  # noqa: S303 # version 1 is SHA-1
    message["Signature"] = b64(rsa_key().sign(text.encode(), PKCS1v15(), algorithm))
    return message


def setup_message(kind: str, **changes: Any) -> dict[str, Any]:
    """Return a message that sets a subscription up or ends it."""
    return sns(Type=kind, Subject=None, Token="t", SubscribeURL=CONFIRM, **changes)


def post_sns(message: dict[str, Any]) -> Knock:
    """Send a message as SNS does, which calls JSON plain text."""
    return knock(json.dumps(message).encode(), {"Content-Type": "text/plain; charset=UTF-8"})


def sns_source(net: Net) -> Source:
    """Return a source that lets one topic in."""
    return source_of("aws-sns", topics=[TOPIC], fetch=net.fetch)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Hello", None])
def test_an_sns_notification_is_an_event(version: str, subject: str | None) -> None:
    """Both signature versions are verified; the certificate is fetched once."""
    net = Net({CERTIFICATE: certificate()})
    source = sns_source(net)
    for _ in range(2):
        found = draft(source, post_sns(sns(version, Subject=subject)))
    assert (found.type, found.subject, found.source_id, found.time) == ("sns.notification", TOPIC, "m-1", NOW)
    assert found.verdict == f"sns, signature version {version}"
    assert net.fetched == [CERTIFICATE]


def test_an_sns_subscription_is_confirmed_once_it_is_verified() -> None:
    """A signed confirmation request of a topic that is let in is visited; others are not."""
    net = Net({CERTIFICATE: certificate(), CONFIRM: b"<ok/>"})
    outcome = receive(sns_source(net), post_sns(setup_message("SubscriptionConfirmation")))
    assert isinstance(outcome, Handshake)
    assert outcome.reply.status == 200
    assert net.fetched == [CERTIFICATE, CONFIRM]
    forged = setup_message("SubscriptionConfirmation") | {"Token": "u"}
    assert refusal(sns_source(net), post_sns(forged)).status == 401
    elsewhere = setup_message("SubscriptionConfirmation", TopicArn=f"{TOPIC}2")
    assert refusal(sns_source(net), post_sns(elsewhere)).reason == "unknown-topic"
    assert net.fetched.count(CONFIRM) == 1


def test_an_sns_unsubscription_is_acknowledged_and_not_visited() -> None:
    """To visit a cancelled subscription's address would subscribe again."""
    net = Net({CERTIFICATE: certificate()})
    outcome = receive(sns_source(net), post_sns(setup_message("UnsubscribeConfirmation")))
    assert isinstance(outcome, Handshake)
    assert net.fetched == [CERTIFICATE]


def test_what_cannot_be_fetched_is_asked_for_again_later() -> None:
    """AWS being away is no fault of the sender's: 503, with a Retry-After."""
    refused = refusal(sns_source(Net({})), post_sns(sns()))
    assert (refused.status, "Retry-After" in refused.headers) == (503, True)
    confirmation = post_sns(setup_message("SubscriptionConfirmation"))
    assert refusal(sns_source(Net({CERTIFICATE: certificate()})), confirmation).status == 503


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-central-1.amazonaws.com/x.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/x.pem",
        "https://evil.example/sns.eu-central-1.amazonaws.com/x.pem",
        "https://sns.eu-central-1.amazonaws.com@evil.example/x.pem",
        "https://evil.example#@sns.eu-central-1.amazonaws.com/x.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/x.pem",
        "https://sns.e.amazonaws.com/x.pem",
        "https://s3.eu-central-1.amazonaws.com/x.pem",
        "https://sns.eu-central-1.amazonaws.com\n/x.pem",
        "https://sns.eu-central-1.amazonaws.com\\.evil.example/x.pem",
        "https://[::1/x.pem",
        "https://sns.eu-central-1.amazonaws.com/x.txt",
        "file:///etc/passwd.pem",
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_never_fetched(url: str) -> None:
    """Only SNS's own hosts over https are asked for a certificate."""
    net = Net({url: certificate()})
    assert refusal(sns_source(net), post_sns(sns(SigningCertURL=url))).status == 401
    confirmation = setup_message("SubscriptionConfirmation") | {"SubscribeURL": url}
    if not url.endswith("x.txt"):
        assert refusal(sns_source(net), post_sns(confirmation)).status == 401
    assert net.fetched == []


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "other"},
        {"MessageId": "other"},
        {"Timestamp": "other"},
        {"Subject": "other"},
        {"Subject": 7},
        {"Message": 7},
        {"Type": "Other"},
        {"SignatureVersion": "3"},
        {"Signature": "no base64"},
        {"Signature": ""},
        {"Signature": 7},
    ],
)
def test_a_changed_sns_message_is_refused(change: dict[str, Any]) -> None:
    """Every field that matters is signed, and has to be a text."""
    source = sns_source(Net({CERTIFICATE: certificate()}))
    assert refusal(source, post_sns(sns() | change)).status == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"no json", b'{"Type":["Notification"]}'])
def test_what_is_no_sns_message_is_refused(body: bytes) -> None:
    """Raw delivery is not signed, so it is refused, as is anything else."""
    assert refusal(sns_source(Net({})), knock(body)).status == 401


def test_an_address_that_holds_no_certificate_is_refused() -> None:
    """What is fetched and is no certificate makes a 401."""
    assert refusal(sns_source(Net({CERTIFICATE: b"<html>"})), post_sns(sns())).status == 401


# Google Pub/Sub -----------------------------------------------------------------------------------

PUSH = {
    "message": {"messageId": "136969346945", "publishTime": "2026-11-24T03:00:00Z", "data": "e30="},
    "subscription": "projects/acme/subscriptions/orders",
}


def keys(*key_ids: str) -> bytes:
    """Return Google's keys under these ids."""
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key().public_key()))
    return json.dumps({"keys": [{**public, "kid": key_id, "use": "sig"} for key_id in key_ids]}).encode()


def token(key_id: str = "k1", algorithm: str = "RS256", key: Any = None, **changes: Any) -> str:
    """Return a token as Google makes it; a change to None takes the claim out."""
    claims = {
        "aud": AUDIENCE,
        "azp": "113774264463038321964",
        "email": EMAIL,
        "email_verified": True,
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
        "iat": int(NOW.timestamp()),
        "iss": "https://accounts.google.com",
        "sub": "113774264463038321964",
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, rsa_key() if key is None else key, algorithm=algorithm, headers={"kid": key_id})


def push(bearer: str, received: datetime = NOW) -> Knock:
    """Send a push."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"}
    return knock(json.dumps(PUSH).encode(), headers, received=received)


def pubsub_source(net: Net) -> Source:
    """Return a source for one subscription's account."""
    return source_of("google-pubsub", audience=AUDIENCE, email=EMAIL, fetch=net.fetch)


def test_a_push_is_an_event_and_googles_keys_are_kept() -> None:
    """A push with Google's token is accepted; the keys are fetched once for many pushes."""
    net = Net({KEYS_URL: keys("k1")})
    source = pubsub_source(net)
    for _ in range(3):
        found = draft(source, push(token()))
    assert (found.type, found.source_id, found.subject, found.time) == (
        "pubsub.message",
        "136969346945",
        "projects/acme/subscriptions/orders",
        NOW,
    )
    assert net.fetched == [KEYS_URL]


@pytest.mark.parametrize(
    "bad",
    [
        lambda: token(aud="https://other.example.com"),
        lambda: token(email="other@acme.iam.gserviceaccount.com"),
        lambda: token(email_verified=False),
        lambda: token(email_verified="true"),
        lambda: token(iss="https://accounts.example.com"),
        lambda: token(exp=None),
        lambda: token(iat=None),
        lambda: token(exp="soon"),
        lambda: token(aud=None),
        lambda: token(key=generate_private_key(65537, 2048)),
        lambda: token(algorithm="HS256", key="x" * 32),
        lambda: token(algorithm="none", key=""),
        lambda: token(key_id="unknown"),
        lambda: token()[:-4] + "AAAA",
        lambda: "no.token.atall",
        lambda: "",
        lambda: "\xff\xfe",
        lambda: "e30.e30.e30",
        lambda: "W10.W10.W10",
        lambda: jwt.encode({}, rsa_key(), algorithm="RS256"),
    ],
)
def test_another_token_is_refused(bad: Callable[[], str]) -> None:
    """Audience, account, issuer, algorithm, key and times all have to be right."""
    refused = refusal(pubsub_source(Net({KEYS_URL: keys("k1")})), push(bad()))
    assert refused.status == 401


@pytest.mark.parametrize("drift", [timedelta(hours=2), timedelta(minutes=-5)])
def test_a_token_from_another_time_is_refused(drift: timedelta) -> None:
    """A token that has expired, or is not issued yet, is refused."""
    assert refusal(pubsub_source(Net({KEYS_URL: keys("k1")})), push(token(), NOW + drift)).reason == "stale"


def test_a_push_without_a_token_is_refused() -> None:
    """Without a bearer token there is nothing to look at, and nothing is fetched."""
    net = Net({})
    assert refusal(pubsub_source(net), knock(b"{}")).status == 401
    assert refusal(pubsub_source(net), knock(b"{}", {"Authorization": "Basic eA=="})).status == 401
    assert net.fetched == []


def test_made_up_key_ids_do_not_make_us_ask_google_all_the_time() -> None:
    """After a fetch, an unknown key id is refused without another one, for a minute."""
    net = Net({KEYS_URL: keys("k1")})
    source = pubsub_source(net)
    for number in range(5):
        assert refusal(source, push(token(key_id=f"made-up-{number}"))).status == 401
    assert draft(source, push(token()))
    assert net.fetched == [KEYS_URL]


def test_google_being_away_is_no_fault_of_the_senders() -> None:
    """Without keys it is 503; with old ones they do until Google is back, and then new ones are used."""
    net = Net({})
    source = pubsub_source(net)
    refused = refusal(source, push(token()))
    assert (refused.status, refused.headers) == (503, {"Retry-After": "10"})
    net.answers = {KEYS_URL: b"[]"}
    assert refusal(source, push(token())).status == 503
    net.answers = {KEYS_URL: keys("k1")}
    assert draft(source, push(token()))
    later = NOW + timedelta(minutes=30)
    net.answers = {}
    assert draft(source, push(token(), later))
    net.answers = {KEYS_URL: keys("k2")}
    assert draft(source, push(token(key_id="k2"), later))
    assert refusal(source, push(token(), later)).status == 401
