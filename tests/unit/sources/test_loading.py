"""`sources.yaml`: what may stand in it, and how every fault is named."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from hookline.errors import Refusal, SourcesError
from hookline.sources import Rate, load_sources
from hookline.sources.load import check_sources
from tests.unit.sources.cases import SECRET, hexed
from tests.unit.sources.support import draft, knock, load, receive, source_of

SIGN = hexed("X-Hub-Signature-256", "sha256=")


def entry(keys: str) -> str:
    """Return a file with one GitHub source that has further keys."""
    return f"sources:\n  github:\n    recipe: github\n    secrets: [${{S}}]\n    {keys}\n"


def test_no_file_means_no_sources(tmp_path: Path) -> None:
    """A project without the file has no sources."""
    assert len(load_sources(tmp_path / "none.yaml", {})) == 0
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert dict(load_sources(tmp_path / "empty.yaml", {})) == {}
    (tmp_path / "none.yaml").write_text("sources:\n")
    assert dict(load_sources(tmp_path / "none.yaml", {})) == {}


def test_the_projects_own_file_loads() -> None:
    """`deployments/sources.yaml` declares GitHub, whose secret is in the environment."""
    path = Path(__file__).parents[3] / "deployments" / "sources.yaml"
    sources = load_sources(path, {"GITHUB_WEBHOOK_SECRET": SECRET})
    assert sources["github"].ready
    assert sources["github"].prefix == "github."
    assert load_sources(path, {})["github"].missing == ("GITHUB_WEBHOOK_SECRET",)


def test_every_key_has_its_meaning() -> None:
    """All keys of an entry end up in the source."""
    source = load(
        """
sources:
  shop:
    recipe: github
    secrets: ["${S}"]
    type: "shop.{header.X-Kind}"
    subject: "{data./a~1b/0}"
    time: "{data.at}"
    source_id: "{query.id}"
    url: https://${HOST}/webhooks/shop
    body_limit: 5 MiB
    rate: 100/s
    dedup: {body: true, window: 5m}
    payload: reference
    sunset: 2027-01-31
""",
        {"S": SECRET, "HOST": "hooks.example.com"},
    )["shop"]
    assert source.url == "https://hooks.example.com/webhooks/shop"
    assert source.body_limit == 5 * 1024 * 1024
    assert source.rate == Rate(100, timedelta(seconds=1))
    assert source.dedup_window == timedelta(minutes=5)
    assert source.by_reference
    assert source.sunset is not None
    assert source.sunset.isoformat() == "2027-01-31T00:00:00+00:00"
    body = json.dumps({"a/b": ["one"], "at": 1795489200}).encode()
    found = draft(source, knock(body, {**SIGN(body), "X-Kind": "sold"}, url="https://h.example.com/x?id=7"))
    assert (found.type, found.subject, found.source_id) == ("shop.sold", "one", "7")
    assert found.time is not None
    assert found.time.isoformat() == "2026-11-24T03:00:00+00:00"
    assert found.dedup_window == timedelta(minutes=5)
    assert found.by_reference


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry("secrts: [${S}]"), ["`github`", "`secrts`", "secrets"]),
        (entry("secrets: [${S}]"), ["secrets", "twice"]),
        (entry("rate: fast"), ["`github`", "`rate`", "100/s"]),
        (entry("rate: 0/s"), ["`rate`"]),
        (entry("body_limit: 26 MiB"), ["`body_limit`"]),
        (entry("body_limit: -1"), ["`body_limit`"]),
        (entry("body_limit: 2GB"), ["`body_limit`: is no size; write it as a number of bytes, 512KiB"]),
        (entry("schemas: {a.b: nowhere.json}"), ["`schemas.a.b`", "nowhere.json cannot be read (No such"]),
        (entry("dedup: {body: false, window: 5m}"), ["`dedup`", "no `window`"]),
        (entry("dedup: {body: true, window: soon}"), ["`dedup.window`", "5m"]),
        (entry("type: github.{nowhere}"), ["`type.0`", "{nowhere}", "header.NAME"]),
        (entry('type: "github.{data.a"'), ["`type.0`", "not closed"]),
        (entry("type: prefect.{data.a}"), ["`type`", "reserved"]),
        (entry("payload: somewhere"), ["`payload`"]),
        (entry("url: hooks.example.com"), ["`url`", "https://"]),
        (entry("url: https://${NOT_SET}/"), ["`url`", "NOT_SET"]),
        (entry("sunset: 2027-01-31T00:00:00"), ["`sunset`", "offset"]),
        (entry("schemas: {github.push: {type: 7}}"), ["`schemas.github.push`", "JSON Schema"]),
        (entry("schemas: {github.push: none.json}"), ["`schemas.github.push`", "none.json"]),
        (entry("schemas: {github.push: {$ref: 'https://example.com/x.json'}}"), ["`schemas.github.push`"]),
        ("sources: {a: {recipe: githubb, secrets: [${S}]}}", ["`a`", "`recipe`", "githubb", "mean github"]),
        ("sources: {a: {secrets: [${S}]}}", ["`a`", "`recipe`", "required"]),
        ("sources: {a: {recipe: github}}", ["`a`", "`secrets`", "${NAME}"]),
        ("sources: {a: {recipe: docker-hub}}", ["`a`", "`tokens`"]),
        ("sources: {a: {recipe: aws-sns}}", ["`a`", "`topics`"]),
        ("sources: {a: {recipe: google-pubsub, email: a@b}}", ["`a`", "`audience`"]),
        ("sources: {a: {recipe: cloudevents, secrets: [${S}], type: a.b}}", ["`a`", "`type`"]),
        ("sources: {a: {recipe: {algorithm: hmac-sha256}, secrets: [${S}]}}", ["`a`", "`recipe", "where"]),
        ("sources: {a: {recipe: {algorithm: rot13}, secrets: [${S}]}}", ["`a`", "`recipe", "hmac-sha256"]),
        ("sources: {a: {recipe: {algorithm: token, signature: {header: X}, hue: 1}, secrets: [${S}]}}",
         ["`recipe.hue`"]),
        ("sources: {A B: {recipe: github, secrets: [${S}]}}", ["`A B`", "small letters"]),
        ("sources: {prefect: {recipe: github, secrets: [${S}]}}", ["`prefect`", "reserved"]),
        ("sources: {a: github}", ["`a`", "mapping"]),
        ("sources: [a]", ["mapping"]),
        ("source: {}", ["`sources`"]),
        ("sources: {a: {}, a: {}}", ["`a`", "twice"]),
        ("sources: {a: [}", ["sources.yaml:1:", "no YAML"]),
        ("{a: 1}: 2", ["no YAML"]),
    ],
)  # fmt: skip
def test_faults_name_the_source_and_the_key(text: str, words: list[str]) -> None:
    """A file that cannot be used is a SourcesError that names what is wrong and where."""
    with pytest.raises(SourcesError) as fault:
        load(text, {"S": SECRET})
    for word in words:
        assert word in str(fault.value)


def places(text: str) -> list[tuple[int, int, str]]:
    """Return the places of all faults with the words in backquotes that follow the source's name."""
    with pytest.raises(SourcesError) as wrong:
        load(text, {"S": SECRET})
    found = [(fault.place, fault.message) for fault in wrong.value.faults]
    return [(place.line, place.column, message.split("`")[3]) for place, message in found if place]


def test_all_faults_are_told_at_once_each_with_its_place() -> None:
    """Line and column are those of the key that is not known, and of the value that cannot be used."""
    text = """\
sources:
  github:
    recipe: github
    secrts: [${S}]
    rate: fast
  shop:
    recipe:
      algorithm: token
      signature: {header: X, encodng: hex}
      key:
        encoding: rot13
    secrets: [${S}]
    dedup: {body: true, windw: 5m}
  crm:
    recipe: no-such-thing
    secrets: [${S}]
"""
    assert places(text) == [
        (4, 5, "secrts"),
        (5, 11, "rate"),
        (9, 30, "recipe.signature.encodng"),
        (11, 19, "recipe.key.encoding"),
        (13, 25, "dedup.windw"),
        (15, 13, "recipe"),
    ]


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        (entry("secrts: [${S}]"), "did you mean `secrets`?"),
        (entry("dedup: {body: true, windw: 5m}"), "did you mean `window`?"),
        ("sources: {a: {recipe: {algoritm: token}, secrets: [${S}]}}", "did you mean `algorithm`?"),
        ("sources: {a: {recipe: {algorithm: token, signature: {heder: X}}, secrets: [${S}]}}", "`header`?"),
        ("sources: {a: {recipe: {algorithm: token, handshakes: [{name: a, match: {methd: GET}}]}}}",
         "did you mean `method`?"),
        ("sources: {a: {recipe: sns, secrets: [${S}]}}", "did you mean aws-sns?"),
        ("sources: {a: {recipe: GitHub, secrets: [${S}]}}", "did you mean github"),
        ("sources: {a: {recipe: zzz, secrets: [${S}]}}", "docs/sources.md has all of them"),
    ],
)  # fmt: skip
def test_a_slip_is_told_with_what_was_meant(text: str, nearest: str) -> None:
    """The nearest key or recipe, and no list of all that there is."""
    with pytest.raises(SourcesError) as wrong:
        load(text, {"S": SECRET})
    assert nearest in str(wrong.value)
    assert "pagerduty" not in str(wrong.value)


def test_anchors_have_a_place_of_their_own() -> None:
    """A top-level key that begins with `x-` is the user's, for what several sources share."""
    sources = load(
        "x-shared: &shared {recipe: github, rate: 9/s}\n"
        "sources: {a: {<<: *shared, secrets: [${S}], rate: 1/s}}",
        {"S": SECRET},
    )
    assert sources["a"].rate == Rate(1, timedelta(seconds=1))


@pytest.mark.parametrize("key", ["secrets", "tokens", "verify_tokens"])
def test_a_secret_in_clear_is_refused_without_repeating_it(key: str) -> None:
    """A literal secret is an error that says how to do it, and does not print the secret."""
    text = f"sources: {{a: {{recipe: github, secrets: [${{S}}], {key}: [hunter2-in-clear]}}}}"
    if key == "secrets":
        text = "sources: {a: {recipe: github, secrets: [hunter2-in-clear]}}"
    with pytest.raises(SourcesError) as fault:
        load(text, {"S": SECRET})
    assert "hunter2" not in str(fault.value)
    assert "${NAME}" in str(fault.value)
    assert "file:" in str(fault.value)


def test_a_secret_that_is_no_text_is_not_repeated_either() -> None:
    """The validation's own message would quote the value; it is left out."""
    with pytest.raises(SourcesError) as fault:
        load("sources: {a: {recipe: github, secrets: {value: hunter2}}}")
    assert "hunter2" not in str(fault.value)


def test_a_public_key_may_stand_in_the_file() -> None:
    """A public key is no secret."""
    key = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    source = load(f"sources: {{a: {{recipe: standard-webhooks, secrets: ['{key}']}}}}")["a"]
    assert source.ready


def test_a_secret_may_come_from_a_mounted_file(tmp_path: Path) -> None:
    """`file:` reads a mounted secret; the line feed at its end is no part of it."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    source = load(f"sources: {{a: {{recipe: github, secrets: ['file:{tmp_path}/secret']}}}}")["a"]
    assert draft(source, knock(b"{}", SIGN(b"{}")))
    (tmp_path / "sources.yaml").write_text("sources: {a: {recipe: github, secrets: ['file:secret']}}")
    assert load_sources(tmp_path / "sources.yaml", {})["a"].ready
    missing = load(f"sources: {{a: {{recipe: github, secrets: ['file:{tmp_path}/none']}}}}")["a"]
    with pytest.raises(Refusal, match="none"):
        receive(missing, knock(b"{}", SIGN(b"{}")))


@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_missing_secret_closes_the_door_and_names_the_variable(value: str | None) -> None:
    """Without its secret, or with an empty one, a source answers 503 with the name of the variable."""
    environ = {} if value is None else {"SHOP_SECRET": value}
    source = load("sources: {a: {recipe: github, secrets: [${SHOP_SECRET}]}}", environ)["a"]
    assert not source.ready
    for request in (knock(b"{}", SIGN(b"{}")), knock(b"{}", hexed("X-Hub-Signature-256", "sha256=")(b"{}"))):
        with pytest.raises(Refusal) as refusal:
            receive(source, request)
        assert refusal.value.status == 503
        assert "SHOP_SECRET" in refusal.value.detail


def test_an_empty_key_fails_closed() -> None:
    """A secret that is empty once its prefix is taken off lets nobody in."""
    source = source_of("standard-webhooks", "whsec_")
    with pytest.raises(Refusal) as refusal:
        receive(source, knock(b"{}", {"webhook-id": "1"}))
    assert refusal.value.status == 401
    assert source.unusable


def test_secrets_never_show() -> None:
    """Neither a source nor the set of sources nor a request shows secrets, tokens or header values."""
    text = "sources: {a: {recipe: github, secrets: [${S}], tokens: [${T}], verify_tokens: [${T}]}}"
    sources = load(text, {"S": "hunter2-secret", "T": "hunter2-token"})
    request = knock(
        b"hunter2", {"Authorization": "hunter2"}, url="https://h.example.com/?access_token=hunter2"
    )
    for thing in (sources, sources["a"], sources["a"].secrets, sources["a"].tokens, request, request.headers):
        assert "hunter2" not in repr(thing)


def test_types_belong_to_their_source() -> None:
    """The owner of a type is the source whose prefix it has."""
    sources = load(
        "sources: {gh: {recipe: github, secrets: [${S}]}, made: {recipe: hmac, secrets: [${S}]}}",
        {"S": SECRET},
    )
    assert sources.owner("github.push") is sources["gh"]
    assert sources.owner("made.anything") is sources["made"]
    assert sources.owner("gh.push") is None
    assert sources.owner("githubpush") is None
    assert load("sources: {}").owner("a.b") is None


def test_variables_may_stand_bare_in_brackets() -> None:
    """`[${A}, ${B}]` is no YAML, and is what everybody writes; quoted it is the same."""
    for written in ("[${A}, ${B}]", "['${A}', \"${B}\"]", "\n      - ${A}\n      - ${B}"):
        source = load(f"sources:\n  a:\n    recipe: github\n    secrets: {written}\n", {"A": "1", "B": "2"})[
            "a"
        ]
        assert [secret.origin for secret in source.secrets] == ["A", "B"]


def test_a_schema_may_be_a_file(tmp_path: Path) -> None:
    """A schema is written in place or named as a file beside `sources.yaml`."""
    (tmp_path / "push.json").write_text('{"required": ["ref"]}')
    (tmp_path / "sources.yaml").write_text(entry("schemas: {github.push: push.json}"))
    source = load_sources(tmp_path / "sources.yaml", {"S": SECRET})["github"]
    headers = {**SIGN(b"{}"), "X-GitHub-Event": "push"}
    with pytest.raises(Refusal) as refusal:
        receive(source, knock(b"{}", headers))
    assert refusal.value.status == 422


def test_secrets_that_nothing_is_compared_with_are_refused() -> None:
    """A recipe without signatures would turn every request away, and nobody would see why."""
    with pytest.raises(SourcesError, match=r"2:36: source `d`, key `secrets`: are of no use.*write `tokens`"):
        load("sources:\n  d: {recipe: docker-hub, secrets: ['${S}']}\n", {"S": SECRET})


def test_what_has_no_effect_is_a_warning(tmp_path: Path) -> None:
    """The keys of other providers."""
    path = tmp_path / "sources.yaml"
    path.write_text(entry("topics: ['arn:x']\n    audience: a\n    email: b\n    verify_tokens: [\"${S}\"]"))
    told = check_sources(path, {"S": SECRET})
    assert [(fault.place, fault.warning) for fault in told] == [((line, 5), True) for line in (5, 6, 7, 8)]
    assert load_sources(path, {"S": SECRET})["github"].ready


def test_a_question_ends_with_its_mark() -> None:
    """`did you mean body?.`"""
    with pytest.raises(SourcesError, match=r"`dedup.bod`: is not known here; did you mean `body`\?$"):
        load(entry("dedup: {bod: true}"), {"S": SECRET})
