"""Rate limits: exactly so many in a window, the headers that say so, and when to come again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.errors import Refusal, SettingsError
from hookline.gateway.metering import Meter, Meters, rate_of_keys
from hookline.sources import Rate


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_the_whole_quota_may_be_used_at_once_and_flows_back() -> None:
    """Three a minute: three at once, then one each 20 seconds."""
    clock = Clock()
    meter = Meter("key", Rate(3, timedelta(minutes=1)), clock)
    left = [dict(meter.take())["ratelimit"] for _ in range(3)]
    assert left == ['"key";r=2;t=20', '"key";r=1;t=40', '"key";r=0;t=60']
    with pytest.raises(Refusal) as refused:
        meter.take()
    assert refused.value.status == 429
    assert refused.value.headers == {
        "retry-after": "20", "ratelimit-policy": '"key";q=3;w=60', "ratelimit": '"key";r=0;t=60',
    }  # fmt: skip
    clock.seconds += 20
    assert dict(meter.take())["ratelimit"] == '"key";r=0;t=60'


def test_whoever_waits_as_told_is_let_in() -> None:
    """`Retry-After` is never too short, and at least a second."""
    clock = Clock()
    meter = Meter("source", Rate(1000, timedelta(seconds=1)), clock)
    for _ in range(1000):
        meter.take()
    with pytest.raises(Refusal) as refused:
        meter.take()
    assert refused.value.headers["retry-after"] == "1"
    clock.seconds += 1
    meter.take()


def test_a_large_batch_overdraws_and_is_paid_back() -> None:
    """Once it is known how many events a request holds it cannot be refused; the next one waits longer."""
    clock = Clock()
    meter = Meter("key", Rate(10, timedelta(seconds=10)), clock)
    meter.take()
    meter.charge(29)
    with pytest.raises(Refusal) as refused:
        meter.take()
    assert refused.value.headers["retry-after"] == "21"


@given(
    limit=st.integers(1, 500),
    per=st.sampled_from([1, 60, 3600]),
    steps=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_never_more_than_twice_the_quota_in_a_window(limit: int, per: int, steps: list[float]) -> None:
    """A full bucket and what flows back while it is used: within any window at most twice the limit."""
    clock = Clock()
    meter = Meter("key", Rate(limit, timedelta(seconds=per)), clock)
    let_in: list[float] = []
    for step in steps:
        clock.seconds += step * per / limit
        try:
            meter.take()
        except Refusal:
            continue
        let_in.append(clock.seconds)
    for start in let_in:
        assert sum(1 for at in let_in if start <= at < start + per) <= 2 * limit


def test_each_key_has_its_own_meter_and_no_rate_counts_nothing() -> None:
    """One key that sends too much takes nothing from another."""
    meters = Meters("key", Rate(1, timedelta(hours=1)))
    meters.take("one")
    meters.take("two")
    with pytest.raises(Refusal):
        meters.take("one")
    assert Meters("key", None).take("one") == ()


def test_a_rate_of_keys_is_read_from_its_setting() -> None:
    """Empty is none; a wrong one names the setting."""
    assert rate_of_keys("") is None
    assert rate_of_keys("100/m") == Rate(100, timedelta(minutes=1))
    with pytest.raises(SettingsError, match="HOOKLINE_KEY_RATE is no rate"):
        rate_of_keys("fast")
