"""The documentation says what is there: every setting with its default, every command, and no other."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cyclopts
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from hookline.cli.app import COMMANDS, build
from hookline.settings import Settings
from tests.support.up import REPOSITORY

OPERATE = (REPOSITORY / "docs/operate.md").read_text()
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]

#: Commands that pages tell of before they are there; a name leaves this list when its command comes.
COMING: set[str] = set()


def commands(app: cyclopts.App | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, such as `("events", "ls")`."""
    app = build() if app is None else app
    for name in app:
        if not name.startswith("-"):
            inner = list(commands(app[name], (*path, name)))
            yield from inner or [(*path, name)]


def mentioned(text: str) -> Iterator[str]:
    """Yield what follows `hookline` in code: in back quotes, or at the start of a line of a shell block."""
    yield from re.findall(r"`hookline ([^`\n]+)`", text)
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"(?:^|&& |\$ )hookline ([^\n#&|]+)", block, re.MULTILINE)


def test_every_setting_is_documented_with_its_default() -> None:
    """`docs/operate.md` has a row for each setting, and none for one that does not exist."""
    rows = dict(re.findall(r"^\| `(HOOKLINE_\w+)` \| (?:`([^`]*)`)? ?\|", OPERATE, re.MULTILINE))
    fields = {f"HOOKLINE_{name.upper()}": field.default for name, field in Settings.model_fields.items()}
    assert rows == {name: str(default) if default not in ("", ()) else "" for name, default in fields.items()}


def test_every_command_is_documented() -> None:
    """`docs/operate.md` has a row for each command."""
    rows = set(re.findall(r"^\| `hookline ([a-z ]+)` \|", OPERATE, re.MULTILINE))
    assert rows == {" ".join(words) for words in commands()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_names_only_commands_that_exist(page: Path) -> None:
    """What a page tells to type is there, option by option."""
    known = {words: build()[words[0]] for words in commands()}
    for line in mentioned(page.read_text()):
        words = shlex.split(line, comments=True)
        if words[0] in ("--help", "COMMAND"):
            continue
        names = tuple(words[:2]) if tuple(words[:2]) in known else tuple(words[:1])
        groups = {path[0] for path in known} | COMING
        assert names in known or names[0] in groups, f"{page.name}: there is no `hookline {line}`"
        if names in known:
            app = build([names[0]])[names[0]] if len(names) == 1 else build([names[0]])[names[0]][names[1]]
            options = {name for argument in app.assemble_argument_collection() for name in argument.names}
            for option in (word.split("=")[0] for word in words if word.startswith("--")):
                assert option in options | {"--help", "--verbose"}, (
                    f"{page.name}: {option} in `hookline {line}`"
                )


def test_no_command_is_still_announced_that_has_come() -> None:
    """The list of what is to come does not outlive its reason."""
    assert COMING.isdisjoint(words[0] for words in commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that exists."""
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_a_help_with_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` explains the command, shows an example, and lists every option with a text."""
    build([*words])([*words, "--help"])
    shown = capsys.readouterr().out
    assert "Example: " in shown
    assert f"hookline {' '.join(words)}" in shown.split("Example: ")[1]


def test_the_overview_says_of_each_command_what_its_help_begins_with() -> None:
    """The line in the overview, which is written apart for speed, does not drift away from the command."""
    for name, _, summary in COMMANDS:
        described = " ".join((build([name])[name].help or "").split())
        assert described.startswith(summary.rstrip(".")), name


def test_the_lock_fits_the_project_file() -> None:
    """Every requirement is locked at a version that it allows, with hashes and without any address."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["flows"],
        *project["dependency-groups"]["dev"],
    ]
    lock = (REPOSITORY / "requirements.lock").read_text()
    locked: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*])?==([^ ;\\\n]+)", lock, re.MULTILINE):
        locked.setdefault(canonicalize_name(name), []).append(Version(version))
    for requirement in map(Requirement, wanted):
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(version) for version in versions), str(requirement)
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?:|file:|^-", lock, re.MULTILINE)


def test_the_tests_that_hold_what_security_promises_are_there() -> None:
    """SECURITY.md names a test for each promise."""
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "SECURITY.md").read_text()))
    written = {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named - written == set()
    assert named
