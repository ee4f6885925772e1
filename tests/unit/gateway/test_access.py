"""API keys: how they are written, what they allow, and that nothing but digests is kept."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from hookline.errors import Refusal, SettingsError
from hookline.gateway.access import LOCAL, Access, Scope
from hookline.gateway.server import check_exposure
from hookline.settings import Settings
from hookline.sources import Headers

KEY = "a-key-of-a-decent-length"
OTHER = "another-key-of-a-decent-length"


def bearer(key: str) -> Headers:
    return Headers.of({"Authorization": f"Bearer {key}"})


def test_a_bare_key_may_do_everything() -> None:
    """`key` alone is an admin's."""
    caller = Access.from_keys([KEY]).identify(bearer(KEY))
    assert caller.scopes == frozenset(Scope)


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("send", {Scope.SEND}), ("read", {Scope.READ}), ("admin", {Scope.SEND, Scope.READ, Scope.ADMIN})],
)
def test_a_scope_says_what_a_key_allows(scope: str, allowed: set[Scope]) -> None:
    """`scope:key`; anything beyond the scope is 403."""
    caller = Access.from_keys([f"{scope}:{KEY}"]).identify(bearer(KEY))
    for each in Scope:
        if each in allowed:
            caller.require(each)
        else:
            with pytest.raises(Refusal) as refused:
                caller.require(each)
            assert (refused.value.status, refused.value.reason) == (403, "scope")


def test_a_send_key_may_be_limited_to_sources() -> None:
    """`send@shop+crm:key`: those sources and no other; a trailing * stands for the rest."""
    caller = Access.from_keys([f"send@shop+https://crm.example/*:{KEY}"]).identify(bearer(KEY))
    caller.require_source("shop")
    caller.require_source("https://crm.example/leads")
    for foreign in ("shop2", "crm", "https://crm.example", KEY):
        with pytest.raises(Refusal):
            caller.require_source(foreign)


def test_an_event_without_a_source_gets_the_only_one_of_its_key() -> None:
    """A key for one source need not repeat it in each event; any other gives its own name."""
    one = Access.from_keys([f"send@shop:{KEY}"]).identify(bearer(KEY))
    assert one.default_source == "shop"
    several = Access.from_keys([f"till/send@shop+crm:{KEY}"]).identify(bearer(KEY))
    assert several.default_source == "till"


def test_several_keys_are_valid_at_once_and_may_share_a_name() -> None:
    """A key that takes over from another keeps its door, and so what was deduplicated there."""
    keys = Access.from_keys([f"billing/send:{KEY}", f"billing/send:{OTHER}"])
    first, second = keys.identify(bearer(KEY)), keys.identify(bearer(OTHER))
    assert first.door == second.door == "events/billing"


def test_a_nameless_key_is_called_by_its_digest() -> None:
    """The name says nothing about the key and is the same after a restart."""
    caller = Access.from_keys([KEY]).identify(bearer(KEY))
    assert caller.name == hashlib.sha256(KEY.encode()).hexdigest()[:8]


def test_a_digest_may_stand_for_its_key() -> None:
    """The settings need not hold the key: `send:sha256=<digest>`."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys = Access.from_keys([f"send:sha256={digest}"])
    assert keys.identify(bearer(KEY)).scopes == {Scope.SEND}
    with pytest.raises(Refusal):
        keys.identify(bearer(f"sha256={digest}"))


def test_nothing_shows_a_key() -> None:
    """Neither the access nor a caller nor the settings show a key when they are printed."""
    keys = Access.from_keys([f"send:{KEY}"])
    assert KEY not in repr(keys) + repr(keys.callers) + repr(keys.identify(bearer(KEY)))
    settings = Settings(_env_file=None, api_keys=(KEY,), database="postgresql://u:hunter2@h/d")  # type: ignore[call-arg]
    assert KEY not in repr(settings)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "written",
    ["short", "send:short", f"write:{KEY}", f":{KEY}", f"Big/send:{KEY}", f"/send:{KEY}", f"send@:{KEY}",
     f"send@a++b:{KEY}", f"read@shop:{KEY}", "sha256=12", "send:sha256=" + "z" * 64],
)  # fmt: skip
def test_a_key_that_is_written_wrongly_is_refused_without_being_shown(written: str) -> None:
    """The error names the setting and the place, never the key."""
    with pytest.raises(SettingsError) as refused:
        Access.from_keys([OTHER, written])
    assert "HOOKLINE_API_KEYS: key 2" in str(refused.value)
    assert KEY not in str(refused.value)


def test_the_same_key_twice_is_a_mistake() -> None:
    """Which of two scopes would hold?"""
    with pytest.raises(SettingsError, match="twice"):
        Access.from_keys([f"send:{KEY}", f"read:{KEY}"])


@pytest.mark.parametrize(
    ("headers", "token"),
    [({}, None), ({"Authorization": f"Basic {KEY}"}, None), ({"Authorization": f"Bearer {KEY}x"}, None),
     ({"Authorization": "Bearer"}, None), ({"Authorization": "Bearer \xff\xfe"}, None), ({}, ""),
     ({}, "\udcff")],
)  # fmt: skip
def test_whoever_has_no_known_key_is_turned_away(headers: dict[str, str], token: str | None) -> None:
    """401 with the way to identify; strange bytes are no key and no fault."""
    with pytest.raises(Refusal) as refused:
        Access.from_keys([KEY]).identify(Headers.of(headers), token)
    assert refused.value.status == 401
    assert refused.value.headers == {"www-authenticate": "Bearer"}


def test_the_query_may_carry_the_key() -> None:
    """`access_token`, for CloudEvents' senders; a header that is no key of ours does not fall back to it."""
    keys = Access.from_keys([KEY])
    assert keys.identify(Headers.of({}), KEY).scopes == frozenset(Scope)
    assert keys.identify(Headers.of({"Authorization": "Basic abc"}), KEY).scopes == frozenset(Scope)
    with pytest.raises(Refusal):
        keys.identify(bearer(OTHER), KEY)


def test_without_keys_everybody_on_the_machine_may_do_everything() -> None:
    """And the gateway answers to this machine alone."""
    assert Access.from_keys([]).identify(Headers.of({})) is LOCAL


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gateway.example", ""])  # noqa: S104 # refused
def test_off_the_loopback_the_gateway_does_not_start_without_keys(host: str) -> None:
    """The message names both ways out; with a key it starts."""
    settings: Any = {"_env_file": None, "host": host}
    with pytest.raises(SettingsError, match="HOOKLINE_API_KEYS"):
        check_exposure(Settings(**settings))
    check_exposure(Settings(**settings, api_keys=(KEY,)))
