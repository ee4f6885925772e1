"""What senders send is shown, never obeyed: the pages as a hostile sender would attack them."""

from __future__ import annotations

import re

import pytest

from hookline.event import BodyFormat, new_id, now
from hookline.gateway import House
from hookline.gateway.pages.rendering import CONTENT_SECURITY_POLICY
from hookline.gateway.pages.routes import PAGES
from hookline.inbox import Rejection
from hookline.triggers import Trigger
from tests.unit.pages.support import Browser, accept, deploy, kill

SCRIPT = "<script>alert(1)</script>"
BREAKOUTS = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "</pre></code></td></table><svg onload=alert(1)>",
    "{{ 733331 * 7 }}{% include 'base.html' %}",
    "javascript:alert(1)",
    "'-alert(1)-'",
)


async def everywhere(house: House, text: str) -> str:
    """Put a text wherever a sender or Prefect can put one; return the event's id."""
    filters = Trigger(flow="f", deployment="d", name="t", expect=("*",), where="data.x == 1")
    await deploy(house, filters, Trigger(flow="f", deployment="d", name="u", expect=("*",)))
    event_id = await accept(
        house, type=f"t.{text}"[:200], data={text: text, "x": text}, subject=text, source_id=text,
        verdict=text, remote=text, source=text[:60], headers=((text, text),), content_type=text,
    )  # fmt: skip
    await kill(house, event_id, reason=text)
    await house.inbox.reject(
        [
            Rejection(
                id=new_id(), at=now(), door=text, remote=text, status=400, reason=text, detail=text, size=1
            )
        ]
    )
    return event_id


@pytest.mark.parametrize("text", BREAKOUTS)
async def test_no_text_becomes_markup(house: House, browser: Browser, text: str) -> None:
    """Tags, attributes and templates in any field of an event stay text on every page that shows them."""
    event_id = await everywhere(house, text)
    for path in (
        "/",
        f"/events/{event_id}",
        "/dead",
        "/rejections",
        "/sources",
        f"/lineage/event/{event_id}",
    ):
        page = await browser.get(path)
        assert page.status == 200, path
        assert text in page.html.text or text[:60] in page.html.text, f"{path} does not show it at all"
        assert len(list(page.html.all("script"))) == 1
        assert not list(page.html.all("img"))
        assert [a for a in page.html.all("svg") if "onload" in a] == []
        assert "5133317" not in page.text
        for tag, attributes in page.html.tags:
            assert not [name for name in attributes if name.startswith("on")], f"{path}: {tag} has a handler"
            assert not (attributes.get("href") or "").lower().startswith("javascript:")


async def test_nothing_is_inline_and_every_page_says_so(house: House, browser: Browser) -> None:
    """No page has a script, a style or a handler of its own; the policy forbids them, and all else."""
    event_id = await everywhere(house, "plain")
    paths = [path.replace("{kind}/{id*}", f"event/{event_id}").replace("{id}", event_id) for path in PAGES]
    for path in [*paths, "/find?q=nothing", "/nowhere", "/login", "/events?status=wrong"]:
        page = await browser.get(path)
        if page.status == 303:
            continue
        assert page.header("content-security-policy") == CONTENT_SECURITY_POLICY, path
        assert page.header("x-content-type-options") == "nosniff", path
        assert page.header("x-frame-options") == "DENY", path
        assert page.header("cache-control") == "no-store", path
        assert list(page.html.all("style")) == [], path
        for tag, attributes in page.html.tags:
            assert "style" not in attributes, f"{path}: {tag} has a style"
            assert not [name for name in attributes if name.startswith("on")], f"{path}: {tag} has a handler"
        for script in page.html.all("script"):
            assert (script.get("src") or "").startswith("/assets/"), path


async def test_text_that_deceives_is_made_visible(house: House, browser: Browser) -> None:
    """Directional overrides, invisible characters and controls are shown as their escapes."""
    event_id = await everywhere(house, "invoice\u202efdp.exe\u200b\x1b[31m\u2066")
    for path in ("/", f"/events/{event_id}", "/dead", "/rejections", f"/lineage/event/{event_id}"):
        text = (await browser.get(path)).text
        assert "invoice\\u202efdp.exe\\u200b\\x1b[31m\\u2066" in text, path
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x1b]", text), path


async def test_text_from_right_to_left_stays_as_it_is(house: House, browser: Browser) -> None:
    """What is merely written in another direction is no deception."""
    event_id = await accept(house, data={"city": "القاهرة", "flag": "👩‍👩‍👧"}, subject="שלום")
    text = (await browser.get(f"/events/{event_id}")).text
    assert "القاهرة" in text
    assert "שלום" in text
    assert "👩‍👩‍👧" in text


async def test_a_huge_body_makes_no_huge_page(house: House, browser: Browser) -> None:
    """Of ten megabytes the page shows the beginning and says where the rest is."""
    event_id = await accept(house, data={"rows": ["x" * 100] * 100_000})
    page = await browser.get(f"/events/{event_id}")
    assert page.status == 200
    assert len(page.body) < 250_000
    assert "download the body to see all of it" in page.html.text


async def test_a_body_that_is_not_text_is_dumped(house: House, browser: Browser) -> None:
    """Bytes are shown in hex beside what of them can be printed."""
    event_id = await accept(house, body=b"\x00\xff<b>PNG</b>", body_format=BodyFormat.BYTES)
    page = await browser.get(f"/events/{event_id}")
    assert "000000 00 ff 3c 62 3e 50 4e 47 3c 2f 62 3e ..<b>PNG</b>" in page.html.text
    assert list(page.html.all("b")) == [{}]  # the end of the tracking id


async def test_what_formatting_would_change_is_shown_as_received_too(house: House, browser: Browser) -> None:
    """A number beyond 64 bits is rounded in the formatted data; the body beside it has every digit."""
    body = b'{"n": 123456789012345678901234567890}'
    event_id = await accept(house, data=None, body=body)
    assert body.decode() in (await browser.get(f"/events/{event_id}")).html.text


async def test_received_bytes_are_downloaded_and_never_run(house: House, browser: Browser) -> None:
    """A body that is HTML is a download, sandboxed, whatever its sender calls it."""
    event_id = await accept(
        house, body=SCRIPT.encode(), body_format=BodyFormat.TEXT, content_type="text/html"
    )
    answer = await browser.get(f"/events/{event_id}/body")
    assert answer.body == SCRIPT.encode()
    assert answer.header("content-disposition") == "attachment"
    assert "sandbox" in (answer.header("content-security-policy") or "")
