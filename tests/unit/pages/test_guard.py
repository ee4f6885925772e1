"""Who may look and who may act: sessions, tokens of forms, and pages elsewhere that send forms here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from hookline.event import now
from hookline.gateway import House
from hookline.inbox import Search
from hookline.triggers import Trigger
from tests.unit.pages.support import Browser, accept, deploy, kill, open_house

ADMIN, READER, SENDER = "admin-key-0123456789", "reader-key-0123456789", "sender-key-0123456789"


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[House]:
    """Give a house with API keys."""
    async with open_house(tmp_path, ADMIN, f"read:{READER}", f"send:{SENDER}") as house:
        yield house


async def sign_in(house: House, key: str, **more: str) -> Browser:
    browser = Browser(house)
    answer = await browser.submit("/login", {"key": key, "wanted": "/dead", **more}, at="/login")
    assert answer.status in (303, 401), answer.text
    return browser


async def dead_letter(house: House) -> tuple[str, str]:
    """Return the ids of an event and of its dispatch that gave up."""
    await deploy(house, Trigger(flow="f", deployment="d", name="t", expect=("shop.order",)))
    event_id = await accept(house)
    return event_id, (await kill(house, event_id)).id


async def replays(house: House, event_id: str) -> int:
    return sum(1 for dispatch in await house.inbox.dispatches(event_id) if dispatch.replay)


# Forms ------------------------------------------------------------------------------------------------


async def test_a_form_of_ours_is_obeyed(house: House, browser: Browser) -> None:
    """With the token of the visitor's own page a replay is made, and the browser is led back."""
    event_id, _ = await dead_letter(house)
    answer = await browser.submit("/actions/replay", {"event": event_id})
    assert (answer.status, answer.header("location")) == (303, f"/events/{event_id}#h-triggers")
    assert await replays(house, event_id) == 1


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
async def test_a_form_without_its_token_is_refused(house: House, browser: Browser, token: str) -> None:
    """No token, or a made-up one: 403 as a page, and nothing happens."""
    event_id, dispatch_id = await dead_letter(house)
    await browser.get("/")
    for path, form in (
        ("/actions/replay", {"event": event_id}),
        ("/actions/dead", {"dispatch": dispatch_id, "confirmed": "yes"}),
        ("/actions/test", {"source": "github"}),
        ("/logout", {}),
    ):
        answer = await browser.post(path, {**form, "token": token})
        assert answer.status == 403, path
        assert "reload the page" in answer.html.text
    assert await replays(house, event_id) == 0
    assert len(await house.inbox.search(Search())) == 1


async def test_the_token_of_another_visitor_is_refused(house: House, browser: Browser) -> None:
    """A token belongs to the cookie of whoever was given the page."""
    event_id, _ = await dead_letter(house)
    token = (await Browser(house).get(f"/events/{event_id}")).html.token
    await browser.get("/")
    assert (await browser.post("/actions/replay", {"event": event_id, "token": token})).status == 403
    assert await replays(house, event_id) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site", "origin": "null"},
    ],
    ids=str,
)
async def test_a_page_elsewhere_cannot_act_even_with_a_token(
    house: House, browser: Browser, headers: dict[str, str]
) -> None:
    """What the browser says about the page that sent the form decides, whatever the form holds."""
    event_id, _ = await dead_letter(house)
    token = (await browser.get(f"/events/{event_id}")).html.token
    answer = await browser.post("/actions/replay", {"event": event_id, "token": token}, **headers)
    assert answer.status == 403
    assert await replays(house, event_id) == 0


async def test_a_name_that_somebody_made_lead_here_shows_nothing(house: House) -> None:
    """Without keys, a page that lets its own name resolve to this machine reads and does nothing."""
    await accept(house, type="secret.thing")
    rebound = Browser(house, host="evil.example:4280")
    for path in ("/", "/events", "/dead", "/sources"):
        answer = await rebound.get(path)
        assert answer.status == 421, path
        assert "secret.thing" not in answer.text
        assert "Dead letters" not in answer.text
        assert "HOOKLINE_URL" in answer.html.text


async def test_a_form_is_a_form(house: House, browser: Browser) -> None:
    """Another content type, which a page elsewhere could send without asking, is no form."""
    event_id, _ = await dead_letter(house)
    token = (await browser.get(f"/events/{event_id}")).html.token
    form = {"event": event_id, "token": token}
    assert (await browser.post("/actions/replay", form, content_type="text/plain")).status == 415


# Sessions ---------------------------------------------------------------------------------------------


async def test_without_a_key_there_is_nothing_but_the_way_in(locked: House) -> None:
    """Every page is the one to sign in with, which says nothing about what is inside."""
    event_id = await accept(locked, type="secret.thing")
    stranger = Browser(locked)
    for path in (
        "/",
        "/events",
        f"/events/{event_id}",
        "/dead",
        "/rejections",
        "/lineage",
        "/sources",
        "/find?q=x",
    ):
        answer = await stranger.get(path)
        assert answer.status == 401, path
        assert "secret.thing" not in answer.text
        assert "Dead letters" not in answer.text
        assert [a["type"] for a in answer.html.all("input") if a.get("name") == "key"] == ["password"]


async def test_a_key_opens_a_session_that_holds_no_key(locked: House) -> None:
    """The cookie is HttpOnly and strict; neither it nor any address has the key or its digest."""
    browser = Browser(locked)
    token = (await browser.get("/events?type=a.b")).html.token
    answer = await browser.post("/login", {"token": token, "key": ADMIN, "wanted": "/events?type=a.b"})
    assert (answer.status, answer.header("location")) == (303, "/events?type=a.b")
    session = next(value for name, value in answer.headers if "-session=" in value)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(session.split("; "))
    for digest in locked.access.callers:
        assert digest.hex() not in session
    assert ADMIN not in str(answer.headers)
    assert (await browser.get("/events?type=a.b")).status == 200


async def test_a_link_elsewhere_leads_into_the_session(locked: House) -> None:
    """A strict cookie is not sent along a link of another site: the page that is shown loads itself again."""
    answer = await Browser(locked).get("/events", sec_fetch_site="cross-site")
    assert [a for a in answer.html.all("meta") if a.get("http-equiv") == "refresh"]
    answer = await Browser(locked).get("/events", sec_fetch_site="same-origin")
    assert [a for a in answer.html.all("meta") if a.get("http-equiv") == "refresh"] == []


async def test_over_https_cookies_are_secure(tmp_path: Path) -> None:
    """Behind TLS no cookie ever goes in clear."""
    async with open_house(tmp_path, ADMIN, url="https://hooks.example.com") as house:
        answer = await Browser(house, host="hooks.example.com").get("/")
        assert "Secure" in (answer.header("set-cookie") or "")


async def test_a_wrong_key_opens_nothing(locked: House) -> None:
    """The form comes back with the reason, and without the key."""
    browser = Browser(locked)
    answer = await browser.submit("/login", {"key": "wrong-key-0123456789", "wanted": "/"}, at="/login")
    assert answer.status == 401
    assert "not known" in answer.html.text
    assert "wrong-key" not in answer.text
    assert (await browser.get("/")).status == 401


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "https://evil.example/", "/\\evil.example", "", "/a\r\nb: c"]
)
async def test_signing_in_leads_nowhere_else(locked: House, wanted: str) -> None:
    """The address to go on to is a path of ours."""
    answer = await Browser(locked).submit("/login", {"key": ADMIN, "wanted": wanted}, at="/login")
    assert (answer.status, answer.header("location")) == (303, "/")


async def test_who_may_only_read_sees_no_buttons_and_has_none_either(locked: House) -> None:
    """A key with the scope read shows pages; actions are refused, also by hand."""
    event_id, dispatch_id = await dead_letter(locked)
    reader = await sign_in(locked, READER)
    page = await reader.get(f"/events/{event_id}")
    assert page.status == 200
    assert "/actions/replay" not in page.text
    answer = await reader.submit("/actions/dead", {"dispatch": dispatch_id, "confirmed": "yes"})
    assert answer.status == 403
    assert await replays(locked, event_id) == 0


async def test_who_may_only_send_sees_nothing(locked: House) -> None:
    """A key with the scope send opens no page."""
    sender = await sign_in(locked, SENDER)
    answer = await sender.get("/events")
    assert answer.status == 403
    assert "read" in answer.html.text


async def test_an_admin_acts(locked: House) -> None:
    """A session of a key with every scope replays."""
    event_id, _ = await dead_letter(locked)
    admin = await sign_in(locked, ADMIN)
    answer = await admin.submit("/actions/replay", {"event": event_id}, at=f"/events/{event_id}")
    assert answer.status == 303
    assert await replays(locked, event_id) == 1


async def test_a_session_ends(locked: House) -> None:
    """By signing out, and by itself after its time."""
    admin = await sign_in(locked, ADMIN)
    kept = dict(admin.cookies)
    assert (await admin.submit("/logout")).status == 303
    assert (await admin.get("/")).status == 401
    admin.cookies = kept
    with time_machine.travel(now() + timedelta(hours=13), tick=False):
        assert (await admin.get("/")).status == 401


async def test_a_session_ends_with_its_key(locked: House, tmp_path: Path) -> None:
    """A key that is taken out of the settings takes its sessions with it."""
    admin = await sign_in(locked, ADMIN)
    async with open_house(tmp_path / "again", f"admin:{ADMIN[::-1]}") as after:
        admin.house = after
        assert (await admin.get("/")).status == 401


async def test_a_session_reads_bodies_and_no_more_of_the_api(locked: House) -> None:
    """The download link works; the rest of the API asks programs for a key, cookie or not."""
    event_id = await accept(locked, data={"a": 1})
    admin = await sign_in(locked, ADMIN)
    assert (await admin.get(f"/events/{event_id}/body")).body == b'{"a":1}'
    assert (await admin.get(f"/events/{event_id}", accept="application/json")).status == 401
    assert (await Browser(locked).get(f"/events/{event_id}/body")).status == 401


async def test_a_changed_session_is_no_session(locked: House) -> None:
    """A later expiry, another signature, nonsense: all the same as none."""
    admin = await sign_in(locked, ADMIN)
    name = next(name for name in admin.cookies if name.endswith("-session"))
    good = admin.cookies[name]
    for bad in (
        f"9{good}",
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        "..",
        "a.b.c",
        "",
        "é.x.y",
        good.rpartition(".")[0],
    ):
        admin.cookies[name] = bad
        assert (await admin.get("/")).status == 401, bad
