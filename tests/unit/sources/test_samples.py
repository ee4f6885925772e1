"""Samples: what providers send, made by us; each is taken by its recipe as the event that it says it is."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from hookline.errors import SourcesError
from hookline.event import Draft, Event, new_id
from hookline.sources import Headers, Source, builtin, recipe_names
from hookline.sources.samples import Sample, make_sample, sample_types, sign_sample
from tasks.github import read_push
from tests.unit.sources import test_coded_providers as coded
from tests.unit.sources.cases import CASES, SECRET, URL, WHSEC, discord, sendgrid
from tests.unit.sources.support import NOW, drafts, knock, load, source_of

FOLDER = Path(__file__).parents[3] / "hookline" / "sources" / "samples"
TOKENS = {"azure-event-grid", "docker-hub", "url-token"}
#: Only the provider can sign for these: the tests have keys of their own.
OTHERS_KEYS = {"discord": discord, "discord-events": discord, "sendgrid": sendgrid}
NAMES = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in recipe_names()}
ALL = [(recipe, event) for recipe, events in NAMES.items() for event in events]


def source_for(recipe: str) -> Source:
    """Return a source of a recipe with all that it asks for."""
    if recipe in TOKENS:
        return load(f"sources: {{door: {{recipe: {recipe}, tokens: [${{T}}]}}}}", {"T": "t"})["door"]
    if recipe == "aws-sns":
        topic = NAMES[recipe]["notification"]["data"]["TopicArn"]
        net = coded.Net({coded.CERTIFICATE: coded.certificate()})
        return source_of(recipe, topics=[topic], fetch=net.fetch)
    if recipe == "google-pubsub":
        return coded.pubsub_source(coded.Net({coded.KEYS_URL: coded.keys("k1")}))
    secret = next(case.secret for case in CASES if case.recipe == recipe)
    return source_of(recipe, secret or SECRET)


def taken(source: Source, sample: Sample) -> list[Draft]:
    """Let a source receive a sample, signed as its provider does."""
    body, kind = sample.body, {"Content-Type": sample.content_type}
    if source.recipe_name in OTHERS_KEYS:
        headers = {**OTHERS_KEYS[source.recipe_name](body), **sample.headers, **kind}
    elif source.recipe_name == "google-pubsub":
        headers = {"Authorization": f"Bearer {coded.token()}", **kind}
    elif source.recipe_name == "aws-sns":
        message = {**json.loads(body), "SigningCertURL": coded.CERTIFICATE}
        message.pop("UnsubscribeURL")
        body, headers = json.dumps(coded.sns(**message)).encode(), {**sample.headers, **kind}
    else:
        headers = sign_sample(source, sample, NOW, URL)
    return drafts(source, knock(body, headers, token="t" if source.tokens else None))


@pytest.mark.parametrize(("recipe", "event"), ALL, ids=[f"{recipe}-{event}" for recipe, event in ALL])
def test_each_sample_is_accepted_as_the_event_that_it_says(recipe: str, event: str) -> None:
    """Its signature is good, and its type, subject and time are what its list and the documentation say."""
    source = source_for(recipe)
    sample = make_sample(source, event, NOW)
    (first,) = taken(source, sample)
    assert (first.type, first.subject) == (sample.type, sample.subject)
    assert first.type == sample_types(source)[event]
    assert first.time is None or abs(first.time - NOW) < timedelta(seconds=1)
    assert b"$" not in sample.body
    assert not first.type.endswith(".unknown")
    if source.recipe.time is not None and recipe not in ("meta", "slack"):
        assert first.time is not None
    # Sent twice it is two events, by its id and by its body.
    (second,) = taken(source, make_sample(source, event, NOW))
    assert first.source_id is None or first.source_id != second.source_id
    assert first.dedup_window is None or first.body != second.body


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_has_samples_and_the_first_is_the_one_that_is_documented(recipe: str) -> None:
    """The type in the table of docs/sources.md is that of the sample which is sent by default."""
    text = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
    documented = re.search(rf"^\| `{recipe}` \|.*\| `([^`]+)` \| (?:yes|no) \|$", text, re.MULTILINE)
    assert documented is not None
    source = source_for(recipe)
    first = next(iter(sample_types(source).values()))
    assert first == documented[1].replace("<source>", source.name)


def test_the_samples_are_those_of_recipes() -> None:
    """No file is left over, and none says what its recipe would not."""
    assert sorted(path.stem for path in FOLDER.iterdir()) == recipe_names()
    assert all(builtin(name) for name in NAMES)


def test_forms_are_sent_as_forms() -> None:
    """Twilio's fields, a slash command of Slack, and the JSON in a field that Slack's buttons send."""
    slack = source_for("slack")
    command, button = (make_sample(slack, event, NOW) for event in ("command/deploy", "block_actions"))
    assert command.body.startswith(b"token=")
    assert b"command=%2Fdeploy" in command.body
    assert button.body.startswith(b"payload=%7B%22type%22")
    assert make_sample(source_for("twilio"), None, NOW).content_type.endswith("form-urlencoded")


def test_a_push_starts_the_projects_own_trigger() -> None:
    """`hookline sources test github --event push` is a push to main."""
    (push,) = taken(source_for("github"), make_sample(source_for("github"), "push", NOW))
    project = yaml.safe_load((FOLDER.parents[2] / "prefect.yaml").read_text())
    triggers = [trigger for each in project["deployments"] for trigger in each.get("triggers", ())]
    (wanted,) = [trigger for trigger in triggers if trigger["name"] == "push-to-main"]
    assert wanted["expect"] == [push.type]
    assert wanted["where"] == f'data.ref == "{push.data["ref"]}"'
    assert push.data["repository"]["id"]
    event = Event(id=new_id(), type=push.type, source="github", time=NOW, accepted=NOW, data=push.data)
    assert len(read_push.fn(event).commits) == 1


def test_a_name_that_is_not_there_is_answered_with_the_nearest() -> None:
    """Or with all of them; a recipe of one's own has none, and is sent what one has oneself."""
    with pytest.raises(SourcesError, match=r"pull_request\?"):
        make_sample(source_for("github"), "pull_requst", NOW)
    with pytest.raises(SourcesError, match="there is push, pull_request"):
        make_sample(source_for("github"), "zzz", NOW)
    own = {"algorithm": "hmac-sha256", "signature": {"header": "X-Sig"}, "type": "made.thing"}
    with pytest.raises(SourcesError, match="there is none"):
        make_sample(source_of(own, SECRET), "push", NOW)
    assert make_sample(source_of(own, SECRET), None, NOW).body == b'{"test": true}'


def test_a_body_of_ones_own_goes_with_the_headers_of_its_event() -> None:
    """Shopify's topic is in one, the shop in another; an event that has no sample is named all the same."""
    shop = source_for("shopify")
    (found,) = taken(shop, make_sample(shop, "products/update", NOW, b'{"id": 7}'))
    assert (found.type, found.subject) == ("shopify.products/update", "acme.myshopify.com")
    assert found.data == {"id": 7}
    github = source_for("github")
    (other,) = taken(github, make_sample(github, "star", NOW, b"{}"))
    assert other.type == "github.star"


def test_samples_are_signed_by_either_scheme() -> None:
    """GitLab's token or its signature, Azure's basic authentication or its header: as the secret says."""
    for recipe, secret in (("gitlab", WHSEC), ("azure-devops", "header:word"), ("alertmanager", "basic:a:b")):
        source = source_of(recipe, secret)
        assert len(taken(source, make_sample(source, None, NOW))) == 1
    basic = source_of("azure-devops", "user:word")
    headers = Headers.of(sign_sample(basic, make_sample(basic, None, NOW), NOW, URL))
    assert headers.get("authorization") == "Basic " + base64.b64encode(b"user:word").decode()
