"""Every provider's delivery becomes the event that its documentation promises; a forged one is refused."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from hookline.errors import Refusal
from hookline.sources import builtin, recipe_names
from tests.unit.sources.cases import CASES, Case, b64, mailgun_body
from tests.unit.sources.support import NOW, drafts, knock, receive

WITHOUT_SIGNATURE = {"azure-event-grid", "docker-hub", "url-token"}
IN_TESTS_OF_THEIR_OWN = {"aws-sns", "google-pubsub"}


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name or case.recipe)


@each_case
def test_a_delivery_becomes_the_expected_event(case: Case) -> None:
    """A signed delivery is accepted with the type, subject, id and time that the provider means."""
    request = knock(case.raw, {**case.headers, **case.sign(case.raw)})
    (draft,) = drafts(case.source(), request)
    assert (draft.type, draft.subject, draft.source_id, draft.time) == (
        case.type,
        case.subject,
        case.id,
        case.time,
    )
    assert draft.source == "door"
    assert case.source().acknowledge("0197", "accepted").status == case.status


@each_case
def test_a_forged_delivery_is_refused(case: Case) -> None:
    """What is signed with another secret, or not at all, is refused with 401."""
    other = {"Authorization": "Bearer other", "X-Gitlab-Token": "other"}
    if case.recipe == "mailgun":
        body = mailgun_body()
        body["signature"]["token"] = "u" * 50
        forged = [knock(json.dumps(body).encode(), case.headers), knock(b"{}", case.headers)]
    else:
        good = case.sign(case.raw)
        bad = {name: other.get(name, value) for name, value in good.items()}
        changed = case.raw if good != bad else case.raw + b" "
        if case.secret and ":" in case.secret:
            bad = {"Authorization": "Basic " + b64(b"user:other")}
        forged = [knock(changed, {**case.headers, **bad}), knock(case.raw, case.headers)]
    for request in forged:
        with pytest.raises(Refusal) as refusal:
            receive(case.source(), request)
        assert refusal.value.status == 401


@pytest.mark.parametrize("case", [c for c in CASES if c.timed], ids=lambda case: case.name or case.recipe)
@pytest.mark.parametrize("drift", [timedelta(minutes=6), -timedelta(minutes=6)])
def test_a_delivery_from_another_time_is_refused(case: Case, drift: timedelta) -> None:
    """A signed timestamp too far in the past or in the future is refused, the signature being good."""
    request = knock(case.raw, {**case.headers, **case.sign(case.raw)}, received=NOW + drift)
    with pytest.raises(Refusal) as refusal:
        receive(case.source(), request)
    assert (refusal.value.status, refusal.value.reason) == (401, "stale")


@each_case
def test_credentials_are_not_kept(case: Case) -> None:
    """The headers that are kept with an event hold no signature, token or password."""
    signed = case.sign(case.raw)
    request = knock(case.raw, {**case.headers, **signed, "Cookie": "a=b", "User-Agent": "tests"})
    kept = dict(drafts(case.source(), request)[0].headers)
    assert "user-agent" in kept
    assert "cookie" not in kept
    for name, value in signed.items():
        if "signature" in name.lower() and "timestamp" not in name.lower():
            assert name.lower() not in kept
        assert value not in kept.values() or name.lower() not in ("authorization", "x-gitlab-token")


def test_every_recipe_has_a_case() -> None:
    """No built-in recipe goes untested."""
    tested = {case.recipe for case in CASES} | WITHOUT_SIGNATURE | IN_TESTS_OF_THEIR_OWN
    assert tested == set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_name_their_documentation(name: str) -> None:
    """Every recipe says whose it is and where its scheme is written down."""
    recipe = builtin(name)
    assert recipe.title
    assert recipe.docs.startswith("https://")
