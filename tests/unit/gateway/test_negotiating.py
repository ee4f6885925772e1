"""Which form whoever asks likes best: `Accept`, with weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.gateway.metrics import form_for
from hookline.gateway.negotiating import names, read_accept, weight_of
from hookline.metrics import OPENMETRICS, PROMETHEUS

SCRAPER = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, PROMETHEUS),
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/plain", PROMETHEUS),
        ("text/html,application/xhtml+xml", PROMETHEUS),
        (SCRAPER, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5", OPENMETRICS),
        ("application/openmetrics-text, text/plain", OPENMETRICS),
        ("application/*", OPENMETRICS),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.3", PROMETHEUS),
        ("application/openmetrics-text;q=0, */*", PROMETHEUS),
        ("application/openmetrics-text;version=2.0.0, text/plain;q=0.1", PROMETHEUS),
        ("application/openmetrics-text;version=0.0.1", PROMETHEUS),
        ("application/openmetrics-text;q=nan, text/plain;q=0.1", PROMETHEUS),
        ("application/openmetrics-text;q=5, text/plain;q=0.1", PROMETHEUS),
    ],
)  # fmt: skip
def test_metrics_come_as_the_scraper_likes_them(accept: str | None, form: str) -> None:
    """OpenMetrics 1.0.0 where it is liked no less and named; the classic text for everybody else."""
    assert form_for(accept) == form


def test_the_narrowest_range_counts() -> None:
    """RFC 9110, 12.5.1: a type of its own before its group, and that before `*/*`."""
    accepted = read_accept("text/*;q=0.3, text/html;q=0.7, */*;q=0.5, text/html;level=1")
    assert weight_of(accepted, "text/html") == 1
    assert weight_of(accepted, "text/plain") == 0.3
    assert weight_of(accepted, "application/json") == 0.5
    assert (names(accepted, "text/html"), names(accepted, "text/plain")) == (True, False)


@given(st.text(st.characters(max_codepoint=255)))
def test_whatever_stands_there_is_read(header: str) -> None:
    """A weight is always a number from 0 to 1."""
    assert all(0 <= each.weight <= 1 for each in read_accept(header))
