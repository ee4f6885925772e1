"""Durations are written as people write them, and read back as they were."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.triggers.durations import LONGEST, parse_duration, render_duration

REASONABLE = st.timedeltas(min_value=timedelta(0), max_value=LONGEST)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("10s", 10), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("500ms", 0.5), ("1.5s", 1.5), ("90", 90),
        (10, 10), (0.25, 0.25), (0, 0), (" 10s ", 10),
        ("PT10S", 10), ("PT1H30M", 5400), ("P1D", 86_400), ("P1DT2H", 93_600), ("P2W", 1_209_600),
        ("PT0.5S", 0.5),
    ],
)  # fmt: skip
def test_a_duration_is_read(written: object, seconds: float) -> None:
    """Units, plain seconds and ISO 8601 all mean what they say."""
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    ["", "s", "10 s", "10x", "-5s", -1, "1h-30m", "P", "PT", "P1M", "P1Y", None, True, [], {},
     "9" * 400 + "d", float("nan"), float("inf"), 1e300, "4000d", "1e3s", "１０s"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written: object) -> None:
    """A slip is told, not guessed at: months and years have no fixed length, a negative wait no meaning."""
    with pytest.raises(ValueError, match=r"is not (a duration|between 0 and)"):
        parse_duration(written)


@settings(deadline=None)
@given(REASONABLE)
def test_a_written_duration_reads_back_unchanged(duration: timedelta) -> None:
    """Nothing is lost on the way through the inbox, down to the microsecond."""
    assert parse_duration(render_duration(duration)) == duration


@settings(deadline=None)
@given(st.text() | st.floats() | st.integers() | st.from_regex(r"\A[0-9PTWDHMSdhmsu.]{1,20}\Z"))
def test_nothing_but_a_value_error_comes_out(written: object) -> None:
    """Any input gives a duration in range or a ValueError."""
    with contextlib.suppress(ValueError):
        assert timedelta(0) <= parse_duration(written) <= LONGEST
