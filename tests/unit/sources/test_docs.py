"""`docs/sources.md` is held against the code: its tables, its keys and its example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hookline.sources import builtin, recipe_names, sign
from hookline.sources.entry import Entry
from hookline.sources.recipe import Algorithm, Recipe, Scheme
from tests.unit.sources.cases import CASES, SECRET
from tests.unit.sources.support import NOW, draft, knock, load

TEXT = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
ROW = re.compile(
    r"^\| `([a-z0-9-]+)` \| \[(.+?)\]\((.+?)\) \| (.+?) \| `(.+?)` \| (yes|no) \|$", re.MULTILINE
)
OTHER_TYPES = {
    "aws-sns": "sns.notification",
    "google-pubsub": "pubsub.message",
    "azure-event-grid": "azure.Microsoft.Storage.BlobCreated",
    "docker-hub": "docker.push",
    "url-token": "<source>.received",
}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_in_the_table_as_it_is(name: str) -> None:
    """Provider, documentation, scheme, a type that a test has seen, and whether it is verified."""
    recipe = builtin(name)
    rows = {row[0]: row[1:] for row in ROW.findall(TEXT)}
    title, docs, schemes, kind, verified = rows[name]
    assert (title, docs) == (recipe.title, recipe.docs)
    assert schemes.split(", ") == list(dict.fromkeys(str(scheme.algorithm) for scheme in recipe.schemes))
    assert verified == ("yes" if recipe.verified else "no")
    seen = {case.type.replace("door.", "<source>.") for case in CASES if case.recipe == name}
    assert kind in seen | {OTHER_TYPES.get(name)}


def test_the_table_has_no_other_recipes() -> None:
    """What is documented exists."""
    assert [row[0] for row in ROW.findall(TEXT)] == recipe_names()


def test_every_key_is_documented() -> None:
    """Each key of a source, of a recipe and each algorithm is explained."""
    section = TEXT.split("## The keys of a source")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(Entry.model_fields)
    own = TEXT.split("## Writing your own recipe")[1].split("## What is refused")[0]
    internal = {"verified"}
    for key in (set(Recipe.model_fields) | set(Scheme.model_fields)) - internal:
        assert re.search(rf"\b{key}\b", own), key
    for algorithm in set(Algorithm) - {Algorithm.TWILIO, Algorithm.SNS, Algorithm.PUBSUB}:
        assert f"`{algorithm}`" in own


def test_the_examples_work() -> None:
    """The file at the top loads, and the recipe written out accepts what is signed after it."""
    first, second = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert set(load(first)) == {"github", "stripe"}
    source = load(second, {"WAREHOUSE_SECRET": SECRET})["warehouse"]
    body = b'{"kind": "packed", "order": {"id": 7}}'
    found = draft(source, knock(body, sign(source, body, NOW, id="d-1")))
    assert (found.type, found.subject, found.source_id) == ("warehouse.packed", "7", "d-1")
    assert source.acknowledge("1", "accepted").body == b"ok"
