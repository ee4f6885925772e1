"""The pages in a real browser, on a real system: what somebody does who wants to know what happened.

One Prefect server with its UI and one gateway for all tests; no worker, so that a run stays where it is put.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from hookline.inbox import Inbox
from hookline.triggers import Trigger
from tests.support.prefect import PrefectHttp
from tests.support.system import System
from tests.support.waiting import eventually

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on PATH: install one to test the pages in it"
)

SECRET = "what the tests and the gateway alone know"
SOURCES = "sources: {github: {recipe: github, secrets: ['${GITHUB_WEBHOOK_SECRET}']}}"
PAGES = ("/", "/dead", "/rejections", "/lineage", "/sources")


def trigger(deployment: str, name: str, expect_type: str, where: str | None = None) -> Trigger:
    return Trigger(flow="shop", deployment=deployment, name=name, expect=(expect_type,), where=where)


@dataclass
class Site:
    """The system as the tests use it."""

    url: str
    prefect: PrefectHttp

    def send(self, type: str, data: Any = None, **more: Any) -> str:
        """Send an event; return its tracking id once it was matched."""
        answer = httpx.post(f"{self.url}/events", json={"type": type, "data": data, **more})
        assert answer.status_code == 202, answer.text
        return self.await_status(answer.json()["id"])

    def push(self, ref: str) -> tuple[str, str]:
        """Deliver a push as GitHub does; return its tracking id and GitHub's own."""
        delivery = str(uuid.uuid4())
        # No two pushes are alike, or the second would be a duplicate.
        push = {"ref": ref, "after": delivery, "repository": {"full_name": "acme/shop"}}
        body = json.dumps(push).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        answer = httpx.post(
            f"{self.url}/webhooks/github",
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-GitHub-Event": "push",
                "X-GitHub-Delivery": delivery,
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        )
        assert answer.status_code == 202, answer.text
        return self.await_status(answer.json()["id"]), delivery

    def await_status(self, event_id: str, *statuses: str) -> str:
        """Return the id once the event has one of these statuses, any but `accepted` by default."""

        def look() -> bool:
            status = self.document(event_id)["status"]
            return status in statuses if statuses else status != "accepted"

        eventually(look, f"{event_id} is {statuses or 'matched'}")
        return event_id

    def document(self, event_id: str) -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{self.url}/events/{event_id}").json()
        return document


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a Prefect server and a gateway with three triggers, one of which has no deployment."""
    folder = tmp_path_factory.mktemp("pages")
    project = folder / "project"
    (project / "deployments").mkdir(parents=True)
    (project / "deployments" / "sources.yaml").write_text(SOURCES)
    system = System(folder, project, gateway_extra={"GITHUB_WEBHOOK_SECRET": SECRET})
    asyncio.run(_deploy(system.inbox))
    try:
        system.server.start()
        prefect = PrefectHttp(system.api)
        prefect.pool("shop")
        prefect.deployment("shop", "book", pool="shop")
        system.gateway.start()
        yield Site(system.url, prefect)
    finally:
        system.gateway.stop()
        system.server.stop()


async def _deploy(inbox_file: Path) -> None:
    async with Inbox.open(f"sqlite:///{inbox_file}") as inbox:
        await inbox.save_trigger_set(
            [
                trigger("book", "paid", "shop.paid"),
                trigger("book", "push-to-main", "github.push", 'data.ref == "refs/heads/main"'),
                trigger("missing", "refunded", "shop.refunded"),
            ]
        )


@pytest.fixture(scope="module")
def chromium(site: Site) -> Iterator[Browser]:
    """Give a browser. Its loop runs in this thread from now on, so the site has to be there before it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser, site: Site) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Give a page of the browser; what the browser complains about fails the test."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    # Prefect's UI has its own worries, and a page that was left may break off what it asked for.
    assert [text for text in complaints if "ERR_ABORTED" not in text and "Failed to load" not in text] == []


def test_somebody_finds_an_event_by_type_and_by_the_senders_id(page: Page, site: Site) -> None:
    """From the first page by the filter, and from any page by the delivery id that GitHub shows."""
    event_id, delivery = site.push("refs/heads/main")
    site.send("noise.of.the.day")
    page.goto("/")
    page.get_by_label("Type").fill("github.*")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name="noise.of.the.day")).to_have_count(0)
    page.get_by_role("link", name="github.push").first.click()
    expect(page).to_have_url(f"{site.url}/events/{event_id}")

    page.goto("/sources")
    page.get_by_role("searchbox").fill(delivery)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/events/{event_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("github.push")
    expect(page.get_by_text("hmac-sha256, secret 1 of 1")).to_be_visible()


def test_somebody_sees_why_a_trigger_did_not_match(page: Page, site: Site) -> None:
    """The condition that does not hold is open on the page, with the value that the event has there."""
    event_id, _ = site.push("refs/heads/feature")
    page.goto(f"/events/{event_id}")
    card = page.get_by_role("article").filter(has_text="push-to-main")
    expect(card.get_by_text("Filtered").first).to_be_visible()
    expect(card.get_by_text('data.ref == "refs/heads/main"')).to_be_visible()
    expect(card.get_by_text("is false", exact=True)).to_be_visible()
    expect(card.get_by_text('"refs/heads/feature"')).to_be_visible()


def test_the_log_shows_an_event_as_it_comes_in(page: Page, site: Site) -> None:
    """Without a reload; those who listen are told, and a paused page stays as it is."""
    page.goto("/events?type=live.*")
    expect(page.get_by_text("No events match these filters")).to_be_visible()
    first = site.send("live.first")
    expect(page.locator(f"[data-key='{first}']")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("1 new in the list")
    page.get_by_role("button", name="updates of the event log").click()
    expect(page.get_by_text("Paused")).to_be_visible()
    second = site.send("live.second")
    page.get_by_role("button", name="updates of the event log").click()
    expect(page.locator(f"[data-key='{second}']")).to_be_visible()


def test_somebody_replays_a_dead_letter_once_its_cause_is_mended(page: Page, site: Site) -> None:
    """The reason is on the page; after the deployment was made, the replay starts one run in Prefect."""
    event_id = site.await_status(site.send("shop.refunded", subject="order/7"), "dead")
    page.goto("/")
    page.get_by_role("link", name=re.compile("Dead letters")).click()
    row = page.get_by_role("row").filter(has_text="order/7")
    expect(row.get_by_text("404")).to_be_visible()
    expect(page.get_by_role("button", name="Replay selected")).to_be_disabled()

    site.prefect.deployment("shop", "missing", pool="shop")
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Replay 1 selected").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Replay 1 dead letter?")
    page.get_by_role("button", name="Replay 1").click()
    expect(page.get_by_text("1 dead letter was replayed")).to_be_visible()

    page.goto(f"/events/{event_id}")
    card = page.get_by_role("article").filter(has_text="refunded")
    expect(card.get_by_role("row").filter(has_text="Replay 1").get_by_text("Scheduled")).to_be_visible()
    assert len(site.prefect.runs_of_event(event_id)) == 1


def test_somebody_follows_a_run_to_prefect_and_back(page: Page, site: Site) -> None:
    """The run's link opens its page in the Prefect UI; the artifact there leads back to the event."""
    event_id = site.await_status(site.send("shop.paid", {"total": 5}), "dispatched")
    [run] = site.prefect.runs_of_event(event_id)
    # Prefect's UI shows artifacts of runs that have begun.
    site.prefect.set_state(run["id"], "COMPLETED")
    eventually(lambda: _artifacts(site, run["id"]), "the artifact that links back")
    page.goto(f"/events/{event_id}")
    page.get_by_role("article").get_by_role("link", name=run["name"]).click()
    expect(page).to_have_url(re.compile(f"/runs/flow-run/{run['id']}"))
    expect(page.get_by_text(run["name"]).first).to_be_visible()
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_role("link", name=f"hookline-{event_id}").first.click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name=f"shop.paid {event_id}").click()
    expect(opened.value).to_have_url(f"{site.url}/events/{event_id}")
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("shop.paid")


def _artifacts(site: Site, run_id: str) -> Any:
    return site.prefect.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [run_id]}}})


def test_the_state_of_a_run_arrives_on_the_open_page(page: Page, site: Site) -> None:
    """Somebody who watches sees the run end."""
    event_id = site.await_status(site.send("shop.paid"), "dispatched")
    page.goto(f"/events/{event_id}")
    row = page.get_by_role("article").get_by_role("row").filter(has_text="Original")
    expect(row.get_by_text("Scheduled")).to_be_visible()
    [run] = site.prefect.runs_of_event(event_id)
    site.prefect.set_state(run["id"], "COMPLETED")
    expect(row.get_by_text("Completed")).to_be_visible()


def test_a_source_is_tried_with_a_button(page: Page, site: Site) -> None:
    """The test event is signed, goes through the door, and its page is shown."""
    page.goto("/sources")
    page.get_by_role("button", name="Send a test event").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("github.push")
    expect(page.get_by_text("hmac-sha256, secret 1 of 1")).to_be_visible()


def test_without_script_everything_works_but_the_updates(chromium: Browser, site: Site) -> None:
    """Filters, pages and actions are links and forms."""
    event_id = site.await_status(site.send("shop.paid", subject="no script"), "dispatched")
    context = chromium.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Subject").fill("no script")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="shop.paid").click()
    page.get_by_text("Replay", exact=True).click()
    page.get_by_role("button", name="Replay this event").click()
    assert [dispatch["replay"] for dispatch in site.document(event_id)["dispatches"]] == [0, 1]
    context.close()


def test_pages_fit_a_phone(chromium: Browser, site: Site) -> None:
    """At 390 pixels no page is wider than the screen."""
    event_id = site.send("shop.paid", {"long": "x" * 500}, subject="y" * 190)
    context = chromium.new_context(base_url=site.url, viewport={"width": 390, "height": 844}, is_mobile=True)
    page = context.new_page()
    for path in (*PAGES, f"/events/{event_id}", f"/lineage/event/{event_id}"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_and_used_by_all(chromium: Browser, site: Site, scheme: Any) -> None:
    """Contrast of 4.5 to 1, a name for every control, one main heading, landmarks, and headers for tables."""
    event_id, _ = site.push("refs/heads/feature")
    context = chromium.new_context(base_url=site.url, color_scheme=scheme)
    page = context.new_page()
    for path in (*PAGES, f"/events/{event_id}", f"/lineage/event/{event_id}", "/nowhere"):
        page.goto(path)
        assert page.evaluate(_FAULTS) == [], path
    context.close()


def test_the_keyboard_reaches_the_content_first(page: Page) -> None:
    """The first stop skips what every page begins with, and the focus can be seen."""
    page.goto("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    assert skip.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


#: What an inspector of accessibility would find fault with, in the page's own words.
_FAULTS = """() => {
  const faults = [];
  const name = (e) => `${e.tagName.toLowerCase()} ${(e.textContent || e.outerHTML).trim().slice(0, 60)}`;
  const seen = (e) => e.getClientRects().length > 0 && !e.closest(".hidden, .skip");
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !seen(e) || e.closest("svg, [disabled]")) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${name(e)}`);
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!(e.labels && e.labels.length) && !e.ariaLabel) faults.push(`no label: ${e.outerHTML}`);
  }
  for (const e of document.querySelectorAll("button, a[href], summary")) {
    if (!(e.textContent.trim() || e.ariaLabel)) faults.push(`no name: ${e.outerHTML}`);
  }
  for (const e of document.querySelectorAll("table")) {
    if (!e.caption) faults.push("a table without a caption");
    if (!e.querySelector("th[scope]")) faults.push("a table without headers");
  }
  for (const landmark of ["header", "nav[aria-label]", "main", "footer"]) {
    if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one main heading");
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) faults.push("an id twice");
  return faults;
}"""
