"""The recipe: one declarative model of how a provider signs, names and expects its webhooks answered."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hookline.sources.template import SignedTemplate, Template, TemplateError, compile_place

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def read_duration(value: object) -> object:
    """Read `300s`, `5m`, `1h` or `2d`; anything else goes on to pydantic as it is."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("is no duration; write it as 30s, 5m, 1h or 2d")
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    return value


def read_several(value: object) -> object:
    """Read a single text as a sequence of one."""
    return (value,) if isinstance(value, str) else value


def _check_template(text: str) -> str:
    Template(text)
    return text


def _check_type(text: str) -> str:
    Template(text.replace("{source}", "source"))
    return text


def _check_signed(text: str) -> str:
    SignedTemplate(text)
    return text


def _check_place(text: str) -> str:
    compile_place(text)
    return text


Duration = Annotated[timedelta, BeforeValidator(read_duration)]
TemplateText = Annotated[str, AfterValidator(_check_template)]
TypeTexts = Annotated[tuple[Annotated[str, AfterValidator(_check_type)], ...], BeforeValidator(read_several)]
SignedText = Annotated[str, AfterValidator(_check_signed)]
Place = Annotated[str, AfterValidator(_check_place)]


class Algorithm(StrEnum):
    """How a request proves where it comes from."""

    HMAC_SHA1 = "hmac-sha1"
    HMAC_SHA256 = "hmac-sha256"
    HMAC_SHA384 = "hmac-sha384"
    HMAC_SHA512 = "hmac-sha512"
    SHA256 = "sha256"  # a plain digest of secret and content
    ED25519 = "ed25519"  # the secret is the provider's public key
    ECDSA_P256 = "ecdsa-p256"  # the secret is the provider's public key
    TOKEN = "token"  # noqa: S105 # the name of a scheme: a header that holds the secret itself
    BASIC = "basic"  # the secret is user:password
    URL_TOKEN = "url-token"  # noqa: S105 # the name of a scheme: nothing but the opaque part of the URL
    TWILIO = "twilio"
    SNS = "sns"
    PUBSUB = "pubsub"

    @property
    def public_key(self) -> bool:
        """Return whether the key is a public one, which may stand in a file."""
        return self in (Algorithm.ED25519, Algorithm.ECDSA_P256)

    @property
    def needs_secret(self) -> bool:
        """Return whether a source of this scheme must have a secret."""
        return self not in (Algorithm.URL_TOKEN, Algorithm.SNS, Algorithm.PUBSUB)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Key(_Model):
    """How a secret's text becomes a key.

    Parameters
    ----------
    encoding: what the text is after the prefix is taken off.
    prefix: taken off where it is there, such as `whsec_`.
    required: the scheme is for secrets with this prefix only.
    """

    encoding: Literal["text", "hex", "base64"] = "text"
    prefix: str = ""
    required: bool = False


class Signature(_Model):
    """Where the signature is.

    Parameters
    ----------
    header: the header, or several of which each may hold one.
    place: where it is if it is in no header, such as `data.signature.signature`.
    split: what separates several parts of the header, such as `,`.
    prefix: what the part that holds the signature begins with, such as `sha256=` or `v1=`.
    encoding: how its bytes are written.
    """

    header: Annotated[tuple[str, ...], BeforeValidator(read_several)] = ()
    place: Place | None = None
    split: str = ""
    prefix: str = ""
    encoding: Literal["hex", "base64"] = "hex"

    @model_validator(mode="after")
    def _somewhere(self) -> Signature:
        if not self.header and self.place is None:
            raise ValueError("name the signature's `header`, or its `place` in the body")
        return self


class Timestamp(_Model):
    """Where the time of signing is, and how far it may be off.

    Parameters
    ----------
    place: such as `header.X-Slack-Request-Timestamp` or `pair.t` (a part of the signature header).
    unit: seconds or milliseconds since 1970, or an RFC 3339 time.
    past, future: how far off our clock it may be.
    optional: a request without it is checked without it.
    """

    place: Place
    unit: Literal["s", "ms", "rfc3339"] = "s"
    past: Duration = timedelta(minutes=5)
    future: Duration = timedelta(minutes=5)
    optional: bool = False


class Scheme(_Model):
    """One way to sign.

    Parameters
    ----------
    algorithm: how the signature is made.
    key: how a secret becomes the key.
    sign: what the signature covers, over `{body}`, `{ts}`, `{id}`, `{url}`, `{header.X}` and the like.
    sign_untimed: the same for a request without its optional timestamp.
    signature: where the signature is.
    timestamp: where the time of signing is.
    """

    algorithm: Algorithm
    key: Key = Key()
    sign: SignedText = "{body}"
    sign_untimed: SignedText | None = None
    signature: Signature | None = None
    timestamp: Timestamp | None = None

    @model_validator(mode="after")
    def _complete(self) -> Scheme:
        coded = self.algorithm in (Algorithm.TWILIO, Algorithm.SNS, Algorithm.PUBSUB)
        if (
            self.signature is None
            and not coded
            and self.algorithm not in (Algorithm.BASIC, Algorithm.URL_TOKEN)
        ):
            raise ValueError(f"`signature` is required for {self.algorithm}: where is it?")
        return self


class Match(_Model):
    """Which requests are a handshake; all that is given must hold.

    Parameters
    ----------
    method: the HTTP method.
    equals: places and the values they must have.
    present: places that must have a value.
    absent: places that must have none.
    verify_token: the place whose value must be one of the source's `verify_tokens`.
    """

    method: Literal["GET", "POST", "OPTIONS"] = "POST"
    equals: dict[Place, Any] = {}
    present: tuple[Place, ...] = ()
    absent: tuple[Place, ...] = ()
    verify_token: Place | None = None


class Respond(_Model):
    """An answer; every text in it is a template.

    Parameters
    ----------
    status: the HTTP status.
    body: the body as text.
    json_body: the body as JSON (key `json`).
    headers: further headers.
    """

    status: int = Field(200, ge=200, le=299)
    body: TemplateText | None = None
    json_body: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    headers: dict[str, TemplateText] = {}


class HandshakeRule(_Model):
    """A request that belongs to setting up the webhook.

    Parameters
    ----------
    name: the provider's name for it.
    match: which requests it is.
    signed: the request carries a signature, which is verified before the answer.
    visit: the place of an address that has to be fetched before the answer, to confirm.
    respond: the answer. The place `{proof.PLACE}` stands for that value signed with the first secret.
    """

    name: str
    match: Match
    signed: bool = True
    visit: Place | None = None
    respond: Respond = Respond()


class Acknowledge(_Model):
    """What the provider wants to hear when its event is on disk.

    Parameters
    ----------
    status: the HTTP status.
    body: the body; without one it is JSON with the tracking id.
    content_type: of the body.
    """

    status: int = Field(202, ge=200, le=299)
    body: str | None = None
    content_type: str = ""


class Recipe(_Model):
    """How a provider's webhooks are verified, named and answered.

    Parameters
    ----------
    title: the provider's name.
    verified: an official test vector of the provider holds; otherwise built from documentation alone.
    docs: address of the provider's documentation.
    schemes: the ways to sign; a secret belongs to the first scheme whose key prefix it has.
    id: the sender's id of the delivery.
    type: the event's type; of several the first that has all its places.
    subject: what the event is about.
    time: when it happened.
    each: the body is an array and every element an event.
    form_payload: a form's field `payload` holds the event as JSON.
    cloudevents: a CloudEvent in any mode is read as one; without `type`, nothing else is.
    handshakes: requests that set the webhook up.
    acknowledge: the answer to an event.
    dedup: for how long an equal body under another id is a duplicate, where the signature does not cover
        the id; as long as it can be, where this provider's bodies are hardly ever alike.
    """

    title: str = ""
    verified: bool = False
    docs: str = ""
    schemes: tuple[Scheme, ...] = Field(min_length=1)
    id: TemplateText | None = None
    type: TypeTexts = ()
    subject: TemplateText | None = None
    time: TemplateText | None = None
    each: bool = False
    form_payload: bool = False
    cloudevents: bool = False
    handshakes: tuple[HandshakeRule, ...] = ()
    acknowledge: Acknowledge = Acknowledge()
    dedup: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_scheme(cls, value: Any) -> Any:
        """Let a recipe with a single scheme write its keys at the top."""
        if isinstance(value, dict) and "algorithm" in value and "schemes" not in value:
            scheme = {key: value[key] for key in Scheme.model_fields if key in value}
            rest = {key: each for key, each in value.items() if key not in scheme}
            return {**rest, "schemes": (scheme,)}
        return value


def recipe_names() -> list[str]:
    """Return the names of the built-in recipes, sorted."""
    folder = resources.files("hookline.sources") / "recipes"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


@cache
def builtin(name: str) -> Recipe:
    """Return a built-in recipe.

    Raises
    ------
    KeyError: there is none of that name.
    """
    file = resources.files("hookline.sources") / "recipes" / f"{name}.yaml"
    if "/" in name or not file.is_file():
        raise KeyError(name)
    return Recipe.model_validate(yaml.safe_load(file.read_text()))


__all__ = ["Recipe", "TemplateError", "builtin", "recipe_names"]
