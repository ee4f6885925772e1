"""YAML as people write it: places, keys that are there twice, limits, and one line for what is no YAML."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hookline.yaml_text import MAX_VALUES, YamlFault, read_yaml

TEXT = """\
shared: &shared
  cron: "0 3 * * *"
deployments:
  - name: a
    tags: [x, {y: 1}]
    schedule:
      <<: *shared
      timezone: UTC
  - {<<: *shared, cron: own}
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), (1, 1), (1, 1)),
        (("deployments",), (3, 1), (4, 3)),
        (("deployments", 0, "name"), (4, 5), (4, 11)),
        (("deployments", 0, "tags", 1, "y"), (5, 16), (5, 19)),
        (("deployments", 0, "schedule", "timezone"), (8, 7), (8, 17)),
        # What was merged in stands where it is written, and what is written here wins over it.
        (("deployments", 0, "schedule", "cron"), (2, 3), (2, 9)),
        (("deployments", 1, "cron"), (9, 19), (9, 25)),
        # What is not there is told where it should be.
        (("deployments", 0, "schedule", "rrule"), (7, 7), (7, 7)),
        (("deployments", 9), (4, 3), (4, 3)),
    ],
)
def test_every_value_has_its_place(
    path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]
) -> None:
    """Line and column count from 1, as editors do."""
    document = read_yaml(TEXT)
    assert document.key(*path) == key
    assert document.at(*path) == value


def test_anchors_and_merge_keys_mean_what_they_mean() -> None:
    """The value is the one that PyYAML gives."""
    assert read_yaml(TEXT).value == yaml.safe_load(TEXT)
    assert read_yaml("").value is None


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", (4, 3), "the key `c` is there twice, first in line 3"),
        ("a: {b: 1, b: 2}", (1, 11), "twice"),
        ("- {a: 1}\n- {a: 1, 'a': 2}", (2, 10), "twice"),
        ("1: a\ntrue: b", (2, 1), "twice"),
        ("a: [1\nb: 2", (2, 2), "no YAML: "),
        ("a: *nowhere", (1, 4), "undefined alias"),
        ("\ta: 1", (1, 1), "cannot start any token"),
        ("a: 1\n---\nb: 2", (2, 1), "another document"),
        ("a: 1\nb: \x07", (2, 4), "control characters"),
        ("a: 2026-13-45", (1, 4), "month"),
        ("a: !!python/name:os.system x", (1, 4), "constructor"),
        ("a: &a [*a]", (1, 4), "within what it repeats"),
        ("[" * 1000, (1, 65), "deep"),
        ("a: " + "{a: " * 1000, (1, 256), "deep"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(
    text: str, place: tuple[int, int], reason: str
) -> None:
    """Never a traceback, and never two lines."""
    with pytest.raises(YamlFault) as wrong:
        read_yaml(text)
    assert reason in wrong.value.reason
    assert wrong.value.place == place
    assert "\n" not in wrong.value.reason


def test_aliases_make_no_document_larger_than_allowed() -> None:
    """Thirty lines, each ten times the one before."""
    lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))]
    with pytest.raises(YamlFault, match=f"more than {MAX_VALUES:,} values"):
        read_yaml("\n".join(lines))


@given(st.text(alphabet="ab:-? {}[]&*<\n\t'\"#|>!%,0", max_size=60))
def test_any_text_is_read_as_yaml_reads_it_or_refused(text: str) -> None:
    """The language is YAML's; only keys that are there twice are refused besides."""
    try:
        value = read_yaml(text).value
    except YamlFault:
        return
    # In a few odd corners (a bare `!`, a tab at a line's end) PyYAML's C parser and its own one differ.
    assert value == yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 # both are safe
