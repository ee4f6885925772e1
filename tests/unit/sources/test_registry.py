# ruff: noqa: ASYNC240 # a test may touch its files
"""The sources in force follow their files: whole, and never worse than before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hookline.errors import SourcesError
from hookline.sources import Change, Registry, sign
from tests.unit.sources.support import NOW, knock

GITHUB = "sources:\n  github: {recipe: github, secrets: [file:secret]}\n"
BOTH = GITHUB + "  shop: {recipe: shopify, secrets: [${SHOP}]}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file with one source, whose secret is in a file beside it."""
    (tmp_path / "secret").write_text("the first secret\n")
    file = tmp_path / "sources.yaml"
    file.write_text(GITHUB)
    return file


def opened(path: Path, **more: Path) -> Registry:
    return Registry.open(path, {"SHOP": "the secret of the shop"}, **more)


async def looked(registry: Registry) -> None:
    """Look twice: at the change, and that it is over."""
    await registry.look()
    await registry.look()


def rewritten(path: Path, text: str) -> None:
    path.write_text(text)


def renamed(path: Path, text: str) -> None:
    """As most editors save: a new file takes the old one's name."""
    path.rename(path.with_suffix(".yaml~"))
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)


def mounted(path: Path, text: str) -> None:
    """As Kubernetes changes what it mounts: `..data` leads to another folder, all at once."""
    folder = path.parent
    new = folder / "..2026_11_24"
    new.mkdir()
    (new / path.name).write_text(text)
    (folder / "..data_tmp").symlink_to(new.name)
    (folder / "..data_tmp").replace(folder / "..data")


@pytest.mark.parametrize("save", [rewritten, renamed, mounted])
async def test_a_source_that_is_added_is_in_force(path: Path, save: Callable[[Path, str], None]) -> None:
    """However the file is saved."""
    if save is mounted:
        old = path.parent / "..2026_11_23"
        old.mkdir()
        path.rename(old / path.name)
        (path.parent / "..data").symlink_to(old.name)
        path.symlink_to(f"..data/{path.name}")
    registry = opened(path)
    save(path, BOTH)
    await looked(registry)
    assert "shop" in registry.sources
    assert registry.sources.owner("shopify.orders/create") is registry.sources["shop"]
    assert registry.counts == {"changed": 1}


async def test_a_source_that_is_removed_is_gone(path: Path) -> None:
    """Its name and its types are free again."""
    path.write_text(BOTH)
    registry = opened(path)
    path.write_text(GITHUB)
    assert await registry.reload() == Change(removed=("shop",))
    assert registry.sources.owner("shopify.orders/create") is None
    assert "shopify." not in registry.sources["github"].foreign


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: {github: {recipe: githb, secrets: [file:secret]}}\n", "githb"),
        ("sources:\n  github: {recipe: github, secrets: [fi", "no YAML"),
        ("sources:\n  github: {recipe: github, secrets: [in-clear]}\n", "in clear"),
        (BOTH + "  shop: {recipe: github, secrets: [file:secret]}\n", "twice"),
        ("", "is empty"),
        ("  \n", "is empty"),
        (None, "is missing"),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing(path: Path, text: str | None, words: str) -> None:
    """The sources of before stay in force, and it is said why, until the file can be used."""
    registry = opened(path)
    before = registry.sources
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    await looked(registry)
    assert registry.fault
    assert registry.sources is before
    assert words in str(registry.fault)
    assert "the first secret" not in str(registry.fault)
    with pytest.raises(SourcesError, match=words):
        await registry.reload()
    path.write_text(BOTH)
    await looked(registry)
    assert "shop" in registry.sources
    assert registry.fault is None
    assert registry.counts["failed"] >= 1


async def test_to_have_no_sources_is_said_in_the_file(path: Path) -> None:
    """An empty file may be one that is being written; this one is not."""
    registry = opened(path)
    path.write_text("sources: {}\n")
    assert await registry.reload() == Change(removed=("github",))
    path.unlink()
    assert await registry.reload() == Change()


async def test_a_file_that_is_being_written_waits_until_it_is_written(path: Path) -> None:
    """What is there in between may well be a file that can be used, of half of the sources."""
    path.write_text(BOTH)
    registry = opened(path)
    with path.open("w") as file:
        parts = ("sources:\n", "  a: {recipe: github, ", "secrets: [file:secret]}\n", "  b: {recipe: gitea, ")
        for text in parts:
            file.write(text)
            file.flush()
            await registry.look()
            assert set(registry.sources) == {"github", "shop"}
        file.write("secrets: [file:secret]}\n")
    await looked(registry)
    assert set(registry.sources) == {"a", "b"}
    assert registry.counts == {"changed": 1}


@pytest.mark.parametrize("save", [rewritten, renamed, mounted])
async def test_a_secret_that_is_rotated_in_its_file_is_good_at_once(
    path: Path, save: Callable[[Path, str], None]
) -> None:
    """By a mount, without a restart; the old one is not good any more."""
    secret = path.parent / "secret"
    if save is mounted:
        old = path.parent / "..2026_11_23"
        old.mkdir()
        secret.rename(old / "secret")
        (path.parent / "..data").symlink_to(old.name)
        secret.symlink_to("..data/secret")
    registry = opened(path)
    before = registry.sources["github"]
    save(secret, "the second secret\n")
    await looked(registry)
    assert registry.sources["github"] is not before
    after = registry.sources["github"]
    assert [secret.text for secret in after.secrets] == ["the second secret"]
    received = await after.receive(knock(b"{}", sign(after, b"{}", NOW, kind="push")))
    assert [each.type for each in received] == ["github.push"]


async def test_a_secret_and_a_schema_that_come_later_are_seen(path: Path) -> None:
    """Files that the sources mention are watched although they are not there yet."""
    entry = (
        "sources:\n  github: {recipe: github, secrets: [file:later], schemas: {github.push: schema.json}}\n"
    )
    registry = opened(path)
    path.write_text(entry)
    await looked(registry)
    assert registry.fault
    (path.parent / "schema.json").write_text('{"type": "object"}')
    await looked(registry)
    assert registry.sources["github"].schemas
    assert not registry.sources["github"].ready
    (path.parent / "later").write_text("a secret")
    await looked(registry)
    assert registry.sources["github"].ready


async def test_what_has_not_changed_is_kept(path: Path) -> None:
    """With what it has fetched, though a neighbour's types are now foreign to it."""
    registry = opened(path)
    before = registry.sources["github"]
    path.write_text(BOTH.replace("github: {recipe", "github:   {recipe"))
    assert await registry.reload() == Change(added=("shop",))
    after = registry.sources["github"]
    assert after.verifiers is before.verifiers
    assert "shopify." in after.foreign
    path.touch()
    assert str(await registry.reload()) == "nothing changed"


async def test_each_kind_of_change_is_named(path: Path) -> None:
    """An entry, a recipe or a secret that differs makes a source another one."""
    registry = opened(path)
    path.write_text(GITHUB.replace("}", ", rate: 5/s}") + "  new: {recipe: github, secrets: [file:secret]}\n")
    assert str(await registry.reload()) == "added new; changed github"


async def test_a_source_that_is_added_gets_a_development_secret_as_at_the_start(path: Path) -> None:
    """Where `up` runs; the same as ever, and never in place of one that is set."""
    data = path.parent / "data"
    registry = opened(path, development=data)
    assert registry.made_up == frozenset()
    path.write_text(BOTH + "  stripe: {recipe: stripe, secrets: [${STRIPE_SECRET}]}\n")
    await registry.reload()
    assert registry.made_up == {"STRIPE_SECRET"}
    assert registry.sources["stripe"].ready
    secret = registry.sources["stripe"].secrets[0].text
    assert opened(path, development=data).sources["stripe"].secrets[0].text == secret
    assert not opened(path).sources["stripe"].ready
