# ruff: noqa: E501 # the table of deliveries reads by its rows
"""What each provider sends, made by signers of our own after its documentation.

None of this uses Hookline's signer: a verifier that is tested with its own code proves nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hookline.sources import Source
from tests.unit.sources.support import NOW, source_of

SECRET = "a secret of the tests"
RAW_KEY = b"twenty-four bytes of key"
WHSEC = "whsec_" + base64.b64encode(RAW_KEY).decode()
STAMP = str(int(NOW.timestamp()))
STAMP_MS = str(int(NOW.timestamp() * 1000))
URL = "https://hooks.example.com/webhooks/door"

ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED25519_PUBLIC = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
P256 = ec.derive_private_key(7, ec.SECP256R1())
P256_PUBLIC = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

Headers = dict[str, str]


def mac(content: str | bytes, key: str | bytes = SECRET, hash: str = "sha256") -> bytes:
    """Return an HMAC."""
    content = content.encode() if isinstance(content, str) else content
    return hmac.new(key.encode() if isinstance(key, str) else key, content, hash).digest()


def b64(raw: bytes) -> str:
    """Return base64 text."""
    return base64.b64encode(raw).decode()


@dataclass(frozen=True)
class Case:
    """A delivery of a provider and the event it should become.

    Parameters
    ----------
    recipe: its recipe.
    body: what it sends, an object or raw bytes.
    sign: returns the headers that authenticate a body at a time.
    type, subject, id, time: of the event.
    headers: further headers.
    secret: what is configured.
    status: of the acknowledgement.
    timed: the signature ages.
    """

    recipe: str
    body: Any
    sign: Callable[[bytes], Headers]
    type: str
    subject: str | None = None
    id: str | None = None
    time: datetime | None = None
    headers: Headers = field(default_factory=lambda: {"Content-Type": "application/json"})
    secret: str | None = SECRET
    keys: dict[str, Any] = field(default_factory=dict)
    status: int = 202
    timed: bool = False
    name: str = ""

    @property
    def raw(self) -> bytes:
        """Return the body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def source(self) -> Source:
        """Return the source it is sent to."""
        secrets = [self.secret] if self.secret else []
        return source_of(self.recipe, *secrets, **self.keys)


def hexed(header: str, prefix: str = "", hash: str = "sha256") -> Callable[[bytes], Headers]:
    """Sign the body, in hexadecimal."""
    return lambda body: {header: prefix + mac(body, hash=hash).hex()}


def based(header: str, prefix: str = "") -> Callable[[bytes], Headers]:
    """Sign the body, in base64."""
    return lambda body: {header: prefix + b64(mac(body))}


def standard(id: str, prefix: str = "webhook") -> Callable[[bytes], Headers]:
    """Sign as Standard Webhooks prescribe."""

    def sign(body: bytes) -> Headers:
        signature = b64(mac(f"{id}.{STAMP}.".encode() + body, RAW_KEY))
        other = b64(bytes(32))
        return {
            f"{prefix}-id": id,
            f"{prefix}-timestamp": STAMP,
            f"{prefix}-signature": f"v1,{other} v1,{signature}",
        }

    return sign


def discord(body: bytes) -> Headers:
    """Sign as Discord does."""
    signature = ED25519.sign(STAMP.encode() + body).hex()
    return {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": STAMP}


def v0(signature: str, timestamp: str) -> Callable[[bytes], Headers]:
    """Sign as Slack and Zoom do."""
    return lambda body: {signature: "v0=" + mac(f"v0:{STAMP}:".encode() + body).hex(), timestamp: STAMP}


def mailgun_body() -> dict[str, Any]:
    """Return a Mailgun body, which holds its own signature."""
    token = "t" * 50
    signature = mac(STAMP + token).hex()
    return {
        "signature": {"timestamp": STAMP, "token": token, "signature": signature},
        "event-data": {
            "event": "delivered",
            "id": "G9Bn5sl1TC6nu79C8C0bwg",
            "timestamp": 1795489200.5,
            "message": {"headers": {"message-id": "m1@example.com"}},
        },
    }


def twilio(body: bytes) -> Headers:
    """Sign a form as Twilio does."""
    fields = {"MessageSid": "SM1", "SmsStatus": "received", "Body": "hello there"}
    content = URL + "".join(f"{name}{fields[name]}" for name in sorted(fields))
    return {
        "X-Twilio-Signature": b64(mac(content, hash="sha1")),
        "I-Twilio-Idempotency-Token": "twilio-1",
        "Content-Type": "application/x-www-form-urlencoded",
    }


def sendgrid(body: bytes) -> Headers:
    """Sign as SendGrid does."""
    name = "X-Twilio-Email-Event-Webhook-"
    signature = P256.sign(STAMP.encode() + body, ec.ECDSA(SHA256()))
    return {f"{name}Signature": b64(signature), f"{name}Timestamp": STAMP}


def nothing(body: bytes) -> Headers:
    """Sign nothing."""
    return {}


REPOSITORY = {"repository": {"full_name": "acme/shop"}}
ALERT = {
    "status": "firing",
    "commonLabels": {"alertname": "HighLoad"},
    "alerts": [{"startsAt": "2026-11-24T02:59:00Z"}],
}
AZURE_PUSH = {
    "subscriptionId": "5f0c8d1e-2a0b-4f4e-8f7e-1b2c3d4e5f60",
    "notificationId": 11,
    "id": "7f1d2a1e-6c1a-4f0e-9b1b-0d6f5c1a2b3c",
    "eventType": "git.push",
    "publisherId": "tfs",
    "resource": {
        "refUpdates": [{"name": "refs/heads/main", "oldObjectId": "0" * 40, "newObjectId": "a" * 40}],
        "repository": {"id": "b1", "name": "shop", "project": {"id": "p1", "name": "acme"}},
        "pushId": 3,
    },
    "createdDate": "2026-11-24T03:00:00Z",
}
HUBSPOT = [{"eventId": 7, "subscriptionType": "deal.creation", "objectId": 123, "occurredAt": int(STAMP_MS)}]

CASES = [
    Case("alertmanager", ALERT, lambda _: {"Authorization": f"Bearer {SECRET}"}, "alertmanager.firing", "HighLoad",
         time=NOW - timedelta(minutes=1)),
    Case("alertmanager", ALERT, lambda _: {"Authorization": "Basic " + b64(b"user:word")}, "alertmanager.firing",
         "HighLoad", time=NOW - timedelta(minutes=1), secret="basic:user:word", name="alertmanager-basic"),
    Case("azure-devops", AZURE_PUSH, lambda _: {"Authorization": "Basic " + b64(b"hooks:word")},
         "azure-devops.git.push", "shop", "7f1d2a1e-6c1a-4f0e-9b1b-0d6f5c1a2b3c", NOW, secret="hooks:word"),
    Case("azure-devops", {"id": "e2", "eventType": "build.complete", "notificationId": 12, "publisherId": "tfs",
                          "resource": {"id": 81, "result": "succeeded", "definition": {"name": "shop-ci"}},
                          "createdDate": "2026-11-24T03:00:00.1234567Z"},
         lambda _: {"X-Hookline-Token": "word"}, "azure-devops.build.complete", "shop-ci", "e2",
         NOW.replace(microsecond=123456), secret="header:word", name="azure-devops-header"),
    Case("basic", {"type": "made", "id": "1"}, lambda _: {"Authorization": "basic " + b64(b"user:word")}, "door.made",
         id="1", secret="user:word"),
    Case("bitbucket", REPOSITORY, hexed("X-Hub-Signature", "sha256="), "bitbucket.repo:push", "acme/shop", "uuid-1",
         headers={"X-Event-Key": "repo:push", "X-Request-UUID": "uuid-1"}),
    Case("bitbucket-server", {"repository": {"project": {"key": "SHOP"}}}, hexed("X-Hub-Signature", "sha256="),
         "bitbucket.repo:refs_changed", "SHOP", "r1", headers={"X-Event-Key": "repo:refs_changed", "X-Request-Id": "r1"}),
    Case("clerk", {"type": "user.created", "data": {"id": "user_1"}, "timestamp": int(STAMP_MS)},
         standard("msg_1", "svix"), "clerk.user.created", "user_1", "msg_1", NOW, secret=WHSEC, timed=True),
    Case("cloudevents", {"specversion": "1.0", "id": "1", "source": "urn:shop", "type": "com.example.order",
                         "subject": "o1", "time": "2026-11-24T03:00:00Z", "data": {"n": 1}},
         lambda _: {"Authorization": f"Bearer {SECRET}"}, "com.example.order", "o1", "1", NOW,
         headers={"Content-Type": "application/cloudevents+json"}),
    Case("convoy", {"event_type": "invoice.paid"}, hexed("X-Convoy-Signature", hash="sha512"), "convoy.invoice.paid"),
    Case("discord", {"id": "i1", "type": 2, "data": {"name": "deploy"}, "channel_id": "c1"}, discord,
         "discord.command.deploy", "c1", "i1", secret=ED25519_PUBLIC.hex(), status=200),
    Case("discord-events", {"type": 1, "application_id": "a1",
                            "event": {"type": "ENTITLEMENT_CREATE", "timestamp": "2026-11-24T03:00:00+00:00"}},
         discord, "discord.ENTITLEMENT_CREATE", "a1", None, NOW, secret=ED25519_PUBLIC.hex(), status=204),
    Case("docusign", {"event": "envelope-completed", "data": {"envelopeId": "e1"},
                      "generatedDateTime": "2026-11-24T03:00:00.0000000Z"},
         lambda body: {"X-DocuSign-Signature-1": b64(bytes(32)), "X-DocuSign-Signature-2": b64(mac(body))},
         "docusign.envelope-completed", "e1", None, NOW, status=200),
    Case("dropbox", {"list_folder": {"accounts": ["dbid:A"]}}, hexed("X-Dropbox-Signature"), "dropbox.changed", "dbid:A",
         status=200),
    Case("gitea", REPOSITORY, hexed("X-Gitea-Signature"), "gitea.push", "acme/shop", "d1",
         headers={"X-Gitea-Event": "push", "X-Gitea-Delivery": "d1"}),
    Case("github", REPOSITORY, hexed("X-Hub-Signature-256", "sha256="), "github.push", "acme/shop", "d1",
         headers={"X-GitHub-Event": "push", "X-GitHub-Delivery": "d1", "Content-Type": "application/json"}),
    Case("github", urlencode({"payload": json.dumps(REPOSITORY)}).encode(), hexed("X-Hub-Signature-256", "sha256="),
         "github.push", "acme/shop", "d1", name="github-form",
         headers={"X-GitHub-Event": "push", "X-GitHub-Delivery": "d1",
                  "Content-Type": "application/x-www-form-urlencoded"}),
    Case("gitlab", {"object_kind": "push", "project": {"path_with_namespace": "acme/shop"}},
         lambda _: {"X-Gitlab-Token": SECRET}, "gitlab.push", "acme/shop", "key-1",
         headers={"Idempotency-Key": "key-1"}),
    Case("gitlab", {"object_kind": "push", "project": {"path_with_namespace": "acme/shop"}}, standard("msg_1"),
         "gitlab.push", "acme/shop", "msg_1", secret=WHSEC, timed=True, name="gitlab-signed"),
    Case("gogs", REPOSITORY, hexed("X-Gogs-Signature"), "gogs.push", "acme/shop", "d1",
         headers={"X-Gogs-Event": "push", "X-Gogs-Delivery": "d1"}),
    Case("grafana", ALERT, hexed("X-Grafana-Alerting-Signature"), "grafana.firing", "HighLoad",
         time=NOW - timedelta(minutes=1)),
    Case("grafana", ALERT,
         lambda body: {"X-Grafana-Alerting-Signature": mac(f"{STAMP}:".encode() + body).hex(),
                       "X-Grafana-Alerting-Timestamp": STAMP},
         "grafana.firing", "HighLoad", time=NOW - timedelta(minutes=1), timed=True, name="grafana-timed"),
    Case("hmac", {"type": "made", "id": "1"}, hexed("X-Signature-256", "sha256="), "door.made", id="1"),
    Case("hubspot", HUBSPOT,
         lambda body: {"X-HubSpot-Signature-v3": b64(mac(f"POST{URL}".encode() + body + STAMP_MS.encode())),
                       "X-HubSpot-Request-Timestamp": STAMP_MS},
         "hubspot.deal.creation", "123", "7", NOW, timed=True),
    Case("hubspot-v1", HUBSPOT, lambda body: {"X-HubSpot-Signature": hashlib.sha256(SECRET.encode() + body).hexdigest()},
         "hubspot.deal.creation", "123", "7", NOW),
    Case("hubspot-v2", HUBSPOT,
         lambda body: {"X-HubSpot-Signature": hashlib.sha256(f"{SECRET}POST{URL}".encode() + body).hexdigest()},
         "hubspot.deal.creation", "123", "7", NOW),
    Case("intercom", {"topic": "conversation.user.created", "id": "notif_1", "created_at": int(STAMP),
                      "data": {"item": {"id": "c1"}}},
         hexed("X-Hub-Signature", "sha1=", "sha1"), "intercom.conversation.user.created", "c1", "notif_1", NOW,
         status=200),
    Case("jira", {"webhookEvent": "jira:issue_created", "timestamp": int(STAMP_MS), "issue": {"key": "SHOP-1"}},
         hexed("X-Hub-Signature", "sha256="), "jira.issue_created", "SHOP-1", "w1", NOW,
         headers={"X-Atlassian-Webhook-Identifier": "w1"}),
    Case("linear", {"type": "Issue", "action": "create", "webhookTimestamp": int(STAMP_MS),
                    "createdAt": "2026-11-24T03:00:00.000Z", "data": {"identifier": "SHO-1", "id": "x"}},
         hexed("Linear-Signature"), "linear.Issue.create", "SHO-1", "d1", NOW,
         headers={"Linear-Delivery": "d1", "Content-Type": "application/json"}, status=200, timed=True),
    Case("mailgun", mailgun_body(), nothing, "mailgun.delivered", "m1@example.com", "t" * 50,
         datetime.fromtimestamp(1795489200.5, UTC), status=200, timed=True),
    Case("meta", {"object": "page", "entry": [{"id": "p1", "time": int(STAMP), "text": "ä\U0001f600"}]},
         hexed("X-Hub-Signature-256", "sha256="), "meta.page", "p1", None, NOW, status=200),
    Case("meta", '{"object":"page","entry":[{"text":"ä\U0001f600"}]}'.encode(),
         lambda body: {"X-Hub-Signature-256": "sha256=" + mac(
             body.decode().replace("ä", "\\u00e4").replace("\U0001f600", "\\ud83d\\ude00")).hex()},
         "meta.page", status=200, name="meta-unescaped"),
    Case("openai", {"type": "response.completed", "created_at": int(STAMP), "data": {"id": "resp_1"}}, standard("wh_1"),
         "openai.response.completed", "resp_1", "wh_1", NOW, secret=WHSEC, timed=True),
    Case("paddle", {"event_type": "transaction.paid", "event_id": "evt_1", "occurred_at": "2026-11-24T03:00:00Z",
                    "data": {"id": "txn_1"}},
         lambda body: {"Paddle-Signature": f"ts={STAMP};h1={mac(f'{STAMP}:'.encode() + body).hex()}"},
         "paddle.transaction.paid", "txn_1", "evt_1", NOW, status=200, timed=True),
    Case("pagerduty", {"event": {"id": "e1", "event_type": "incident.triggered", "occurred_at": "2026-11-24T03:00:00Z",
                                 "data": {"id": "P1"}}},
         lambda body: {"X-PagerDuty-Signature": f"v1={'0' * 64},v1={mac(body).hex()}"},
         "pagerduty.incident.triggered", "P1", "e1", NOW),
    Case("sendgrid", [{"event": "delivered", "sg_event_id": "s1", "sg_message_id": "m1", "timestamp": int(STAMP)}],
         sendgrid, "sendgrid.delivered", "m1", "s1", NOW, secret=b64(P256_PUBLIC)),
    Case("sentry", {"action": "created", "data": {"issue": {"id": "1"}}}, hexed("Sentry-Hook-Signature"),
         "sentry.issue.created", "1", "r1", headers={"Sentry-Hook-Resource": "issue", "Request-ID": "r1"}),
    Case("shopify", {"id": 1}, based("X-Shopify-Hmac-SHA256"), "shopify.orders/create", "acme.myshopify.com", "w1", NOW,
         headers={"X-Shopify-Topic": "orders/create", "X-Shopify-Shop-Domain": "acme.myshopify.com",
                  "X-Shopify-Webhook-Id": "w1", "X-Shopify-Triggered-At": "2026-11-24T03:00:00.000000000Z"},
         status=200),
    Case("slack", {"type": "event_callback", "event_id": "Ev1", "event_time": int(STAMP), "team_id": "T1",
                   "event": {"type": "app_mention", "channel": "C1"}},
         v0("X-Slack-Signature", "X-Slack-Request-Timestamp"), "slack.app_mention", "C1", "Ev1", NOW, status=200,
         timed=True),
    Case("slack", b"command=%2Fdeploy&channel_id=C1&trigger_id=t1&text=", v0("X-Slack-Signature", "X-Slack-Request-Timestamp"),
         "slack.command/deploy", "C1", "t1", headers={"Content-Type": "application/x-www-form-urlencoded"}, status=200,
         timed=True, name="slack-command"),
    Case("slack", urlencode({"payload": json.dumps({"type": "block_actions", "trigger_id": "t1"})}).encode(),
         v0("X-Slack-Signature", "X-Slack-Request-Timestamp"), "slack.block_actions", None, "t1",
         headers={"Content-Type": "application/x-www-form-urlencoded"}, status=200, timed=True,
         name="slack-interaction"),
    Case("square", {"type": "payment.created", "event_id": "e1", "created_at": "2026-11-24T03:00:00Z",
                    "data": {"id": "p1"}},
         lambda body: {"x-square-hmacsha256-signature": b64(mac(URL.encode() + body))},
         "square.payment.created", "p1", "e1", NOW),
    Case("standard-webhooks", {"type": "contact.created", "timestamp": "2026-11-24T03:00:00Z"}, standard("msg_1"),
         "door.contact.created", None, "msg_1", NOW, secret=WHSEC, timed=True),
    Case("stripe", {"id": "evt_1", "type": "invoice.paid", "created": int(STAMP), "data": {"object": {"id": "in_1"}}},
         lambda body: {"Stripe-Signature": f"t={STAMP},v1={'0' * 64},v1={mac(f'{STAMP}.'.encode() + body).hex()},v0=ab"},
         "stripe.invoice.paid", "in_1", "evt_1", NOW, timed=True),
    Case("svix", {"type": "made"}, standard("msg_1", "svix"), "door.made", None, "msg_1", secret=WHSEC, timed=True),
    Case("svix", {"type": "made"}, standard("msg_1"), "door.made", None, "msg_1", secret=WHSEC, timed=True,
         name="svix-unbranded"),
    Case("token", {"event": "made"}, lambda _: {"Authorization": f"BEARER {SECRET}", "X-Request-Id": "r1"}, "door.made",
         id="r1"),
    Case("twilio", b"MessageSid=SM1&SmsStatus=received&Body=hello+there", twilio, "twilio.message.received", "SM1",
         "twilio-1", headers={}, status=200),
    Case("typeform", {"event_id": "e1", "event_type": "form_response",
                      "form_response": {"form_id": "f1", "submitted_at": "2026-11-24T03:00:00Z"}},
         based("Typeform-Signature", "sha256="), "typeform.form_response", "f1", "e1", NOW),
    Case("xero", {"events": [{"tenantId": "t1", "eventDateUtc": "2026-11-24T03:00:00.000Z"}]}, based("x-xero-signature"),
         "xero.events", "t1", None, NOW, status=200),
    Case("zoom", {"event": "meeting.started", "event_ts": int(STAMP_MS), "payload": {"object": {"id": "123"}}},
         v0("x-zm-signature", "x-zm-request-timestamp"), "zoom.meeting.started", "123", None, NOW, status=200,
         timed=True),
]  # fmt: skip
