"""What each page answers, and who gets a page at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from hookline.errors import InboxError
from hookline.event import Cause, new_id, now
from hookline.gateway import House
from hookline.gateway.pages.assets import address
from hookline.inbox import DispatchStatus, Rejection, Search
from hookline.triggers import Trigger
from tests.unit.pages.support import HTML, Answer, Browser, accept, deploy, kill

PAGE = 50


def trigger(name: str = "t", expect: str = "shop.order", **more: object) -> Trigger:
    return Trigger(flow="book", deployment="orders", name=name, expect=(expect,), **more)  # type: ignore[arg-type] # a test's


def links(answer: Answer) -> list[str]:
    return [attributes.get("href") or "" for attributes in answer.html.all("a")]


# A page or JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept_header", "is_page"),
    [
        (HTML, True),
        ("text/html", True),
        ("TEXT/HTML;q=0.5, application/json;q=0.4", True),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("", False),
    ],
)
async def test_who_names_html_gets_pages_and_all_others_json(
    house: House, browser: Browser, accept_header: str, is_page: bool
) -> None:
    """A browser names HTML; curl and every client of the API get what they always got, errors included."""
    event_id = await accept(house)
    for path in (
        "/events",
        f"/events/{event_id}",
        "/rejections",
        f"/lineage/event/{event_id}",
        "/events/none",
        "/no",
    ):
        answer = await browser.get(path, accept=accept_header)
        media_type = (answer.header("content-type") or "").partition(";")[0]
        assert media_type == "text/html" if is_page else media_type.endswith("json"), path
        if not is_page:
            orjson.loads(answer.body)


async def test_a_page_says_that_another_client_gets_another_answer(house: House, browser: Browser) -> None:
    """Caches in between are told what the answer depends on."""
    assert (await browser.get("/events")).header("vary") == "accept, cookie"


async def test_errors_are_pages_with_their_status(house: House, browser: Browser) -> None:
    """What is not there, or cannot be asked, says so in a page that leads on."""
    for path, status in (
        ("/events/none", 404),
        ("/nowhere", 404),
        ("/events?status=no", 400),
        ("/events?since=yesterday", 400),
    ):
        answer = await browser.get(path)
        assert answer.status == status, path
        assert "/events" in links(answer)


async def test_an_inbox_that_cannot_be_read_is_a_page_too(
    house: House, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, with the reason, and with what to look at."""

    async def fail(*_: object) -> None:
        raise InboxError("the inbox cannot be read: disk I/O error")

    monkeypatch.setattr(house.inbox, "read", fail)
    answer = await browser.get("/events")
    assert answer.status == 503
    assert "disk I/O error" in answer.html.text


async def test_files_are_kept_for_ever_under_names_that_change(house: House, browser: Browser) -> None:
    """Stylesheet, script and icon have the digest of their content in their names."""
    for name in ("hookline.css", "hookline.js", "icon.svg"):
        answer = await browser.get(address(name))
        assert answer.status == 200
        assert "immutable" in (answer.header("cache-control") or "")
        again = await browser.get(address(name), if_none_match=answer.header("etag") or "")
        assert (again.status, again.body) == (304, b"")
    assert (await browser.get("/assets/..%2Frendering.py")).status == 404


# The event log ----------------------------------------------------------------------------------------


async def test_the_first_page_is_the_event_log(house: House, browser: Browser) -> None:
    """`/` redirects nobody."""
    event_id = await accept(house, subject="order/7")
    for path in ("/", "/events"):
        answer = await browser.get(path)
        assert answer.status == 200
        assert f"/events/{event_id}" in links(answer)
        assert "order/7" in answer.html.text


async def test_an_empty_log_says_what_to_do(house: House, browser: Browser) -> None:
    """There is a command to be pasted, and the way to sources."""
    text = (await browser.get("/")).html.text
    assert "curl -i http://127.0.0.1:4280/events" in text
    assert "No events yet" in text


async def test_the_log_is_filtered_by_what_the_form_says(house: House, browser: Browser) -> None:
    """Type, with a trailing star too, source, subject, status and time; fields left empty do not count."""
    await deploy(house, trigger())
    order = await accept(house, source="shop", subject="order/7")
    other = await accept(house, type="crm.lead", source="crm")
    for query, expected in (
        ("type=&source=&subject=&status=&within=", {order, other}),
        ("type=shop.*", {order}),
        ("type=shop.order", {order}),
        ("source=crm", {other}),
        ("subject=order/7", {order}),
        ("status=ignored", {other}),
        ("status=pending", {order}),
        ("within=1h", {order, other}),
        ("until=2020-01-01T00:00:00Z", set()),
        ("type=crm.*&source=shop", set()),
    ):
        found = {link.removeprefix("/events/") for link in links(await browser.get(f"/events?{query}"))}
        assert found & {order, other} == expected, query


async def test_no_hit_is_told_from_no_events(house: House, browser: Browser) -> None:
    """With filters the empty page offers to take them off."""
    await accept(house)
    answer = await browser.get("/events?type=nothing.like.it")
    assert "No events match these filters" in answer.html.text
    assert links(answer).count("/events") >= 2


async def test_the_log_is_paged_in_both_directions(house: House, browser: Browser) -> None:
    """Older leads down to the end, newer back up, filters kept, nothing shown twice or left out."""
    ids = [await accept(house) for _ in range(PAGE * 2 + 3)][::-1]

    def shown(answer: Answer) -> list[str]:
        return [str(row["data-key"]) for row in answer.html.all("tr") if "data-key" in row]

    def follow(answer: Answer, rel: str) -> str | None:
        return next((str(a["href"]) for a in answer.html.all("a") if a.get("rel") == rel), None)

    first = await browser.get("/events?type=shop.*")
    second = await browser.get(follow(first, "next") or "")
    third = await browser.get(follow(second, "next") or "")
    assert [shown(page) for page in (first, second, third)] == [ids[:50], ids[50:100], ids[100:]]
    assert (follow(first, "prev"), follow(third, "next")) == (None, None)
    back = await browser.get(follow(third, "prev") or "")
    assert shown(back) == ids[50:100]
    top = await browser.get(follow(back, "prev") or "")
    assert shown(top) == ids[:50]
    assert "type=shop.%2A" in (follow(first, "next") or "")


async def test_what_waits_and_what_died_is_counted(house: House, browser: Browser) -> None:
    """The pills of the log and the link to the dead letters say how many there are."""
    await deploy(house, trigger())
    await kill(house, await accept(house))
    await accept(house)
    text = (await browser.get("/")).html.text
    assert "Dead letters 1 waiting" in text
    assert "Pending 1" in text


# One event --------------------------------------------------------------------------------------------


async def test_an_events_page_tells_why_a_trigger_did_not_match(house: House, browser: Browser) -> None:
    """The condition, and what the event has there; also for a trigger that came after the event."""
    await deploy(house, trigger(where="data.total > 100"))
    event_id = await accept(house, data={"total": 5})
    await deploy(house, trigger(where="data.total > 100"), trigger("late", where='data.currency == "EUR"'))
    text = (await browser.get(f"/events/{event_id}")).html.text
    assert "data.total > 100 is false data.total is 5" in text
    assert 'data.currency == "EUR" could not be evaluated' in text
    assert "data.currency is not in the event" in text
    assert "Matched against set 1. The results below are for set 2, which is in force now." in text


async def test_an_events_page_shows_what_was_received(house: House, browser: Browser) -> None:
    """Headers, body and the verdict on the signature, as they came."""
    event_id = await accept(
        house, data={"a": [1, 2]}, headers=(("user-agent", "GitHub-Hookshot/1"),), remote="192.0.2.7",
        verdict="hmac-sha256, secret 1 of 2", source_id="delivery-9",
    )  # fmt: skip
    text = (await browser.get(f"/events/{event_id}")).html.text
    for part in ("GitHub-Hookshot/1", "192.0.2.7", "hmac-sha256, secret 1 of 2", "delivery-9", '{"a":[1,2]}'):
        assert part in text


async def test_each_run_links_to_its_page_in_prefect(house: House, browser: Browser) -> None:
    """The dispatch's row and the waterfall both do."""
    await deploy(house, trigger())
    event_id = await accept(house)
    dispatch = (await house.inbox.dispatches(event_id))[0]
    await house.inbox.settle_started(
        dispatch, flow_run_id="5f0a", flow_run_name="shop.order-1", deployment_id="d", state="SCHEDULED",
        created=now(), at=now(),
    )  # fmt: skip
    answer = await browser.get(f"/events/{event_id}")
    assert links(answer).count("http://prefect.example:4200/runs/flow-run/5f0a") == 2
    assert "shop.order-1" in answer.html.text
    assert "Scheduled" in answer.html.text


async def test_cause_and_effects_are_linked(house: House, browser: Browser) -> None:
    """From an event to the one whose run sent it, and to those that its runs sent."""
    cause = await accept(house)
    effect = await accept(house, type="shop.paid", cause=Cause(cause, "run-1", None))
    assert f"/events/{effect}" in links(await browser.get(f"/events/{cause}"))
    assert f"/events/{cause}" in links(await browser.get(f"/events/{effect}"))


async def test_a_type_that_nobody_expects_comes_with_the_trigger_to_write(
    house: House, browser: Browser
) -> None:
    """The empty state is a piece of prefect.yaml."""
    event_id = await accept(house, type="shop.unheard")
    assert "expect: [shop.unheard]" in (await browser.get(f"/events/{event_id}")).html.text


async def test_an_event_is_found_by_any_id(house: House, browser: Browser) -> None:
    """Its own, the sender's, a dispatch's; what is not found says what else can be tried."""
    await deploy(house, trigger())
    event_id = await accept(house, source_id="evt_1OaB")
    dispatch = (await house.inbox.dispatches(event_id))[0]
    for words in (event_id, "evt_1OaB", dispatch.id, f"  {event_id} "):
        answer = await browser.get(f"/find?q={words.replace(' ', '+')}")
        assert (answer.status, answer.header("location")) == (303, f"/events/{event_id}")
    assert (await browser.get("/find?q=nonsense")).status == 404


# Replay -----------------------------------------------------------------------------------------------


async def test_dead_letters_are_replayed_after_a_look(house: House, browser: Browser) -> None:
    """First what each would start with the triggers in force; confirmed, those that match start."""
    await deploy(house, trigger(), trigger("gone", expect="shop.gone"))
    alive = await kill(house, await accept(house))
    lost = await kill(house, await accept(house, type="shop.gone"))
    await deploy(house, trigger())

    form = [("dispatch", alive.id), ("dispatch", lost.id)]
    token = (await browser.get("/dead")).html.token
    look = await browser.post("/actions/dead", [("token", token), *form])
    assert "1 of these starts a new run" in look.html.text
    assert "no current trigger matches it any more" in look.html.text
    assert len(await house.inbox.dispatches(alive.event_id)) == 1

    done = await browser.post("/actions/dead", [("token", token), ("confirmed", "yes"), *form])
    assert (done.status, done.header("location")) == (303, "/dead?replayed=1")
    assert [d.replay for d in await house.inbox.dispatches(alive.event_id)] == [0, 1]
    assert [d.replay for d in await house.inbox.dispatches(lost.event_id)] == [0]


async def test_a_dead_letter_that_would_die_again_says_so(house: House, browser: Browser) -> None:
    """One by one and all at once: its parameters cannot be made, so there is nothing to replay."""
    await deploy(house, trigger(parameters={"total": "{{ event.payload.total }}"}))
    dead = await kill(house, await accept(house, data={}))
    token = (await browser.get("/dead")).html.token
    for form in ([("dispatch", dead.id)], [("all", "yes")]):
        look = await browser.post("/actions/dead", [("token", token), *form])
        assert "Would fail again" in look.html.text
        assert "the event has no 'total'" in look.html.text
        assert "Starts a run" not in look.html.text
        assert "Replay all" not in [str(button) for button in look.html.all("button")]


async def test_all_dead_letters_are_replayed_at_once(house: House, browser: Browser) -> None:
    """More than fit a page: first how many would start, then a replay that goes on by itself."""
    await deploy(house, trigger())
    dead = [await kill(house, await accept(house)) for _ in range(3)]
    look = await browser.submit("/actions/dead", {"all": "yes"})
    assert "Replay 3 dead letters?" in look.html.text
    assert "book/orders/t3" in look.html.text
    done = await browser.submit("/actions/dead", {"all": "yes", "confirmed": "yes"})
    assert done.header("location") == "/dead?begun=yes"
    with house.changes.watch() as watch:
        async with asyncio.timeout(20):
            while await house.inbox.dead(limit=1):
                await watch.wait(timeout_seconds=5)
    assert [len(await house.inbox.dispatches(each.event_id)) for each in dead] == [2, 2, 2]


async def test_a_replay_can_be_narrowed_to_one_trigger(house: House, browser: Browser) -> None:
    """Of two triggers that match, the one that was chosen starts."""
    await deploy(house, trigger("a"), trigger("b"))
    event_id = await accept(house)
    await browser.submit("/actions/replay", {"event": event_id, "trigger": "book/orders/b"})
    again = [d for d in await house.inbox.dispatches(event_id) if d.replay == 1]
    assert [(d.trigger_id, d.status) for d in again] == [("book/orders/b", DispatchStatus.PENDING)]


# The rest ---------------------------------------------------------------------------------------------


async def test_rejections_tell_what_when_from_where_and_why(house: House, browser: Browser) -> None:
    """The same that the sender was told."""
    rejection = Rejection(
        id=new_id(), at=now(), door="webhooks/github", remote="203.0.113.7", status=401,
        reason="bad-signature", detail="The signature fits none of the secrets.", size=812,
    )  # fmt: skip
    await house.inbox.reject([rejection])
    text = (await browser.get("/rejections")).html.text
    for part in (
        "401",
        "bad-signature",
        "/webhooks/github",
        "203.0.113.7",
        "fits none of the secrets",
        "812 B",
    ):
        assert part in text


async def test_sources_say_whether_they_are_ready_and_what_came_last(house: House, browser: Browser) -> None:
    """A missing secret is named, and no secret is shown."""
    await accept(house, type="github.push", source="github")
    answer = await browser.get("/sources")
    assert "Set NOT_SET" in answer.html.text
    assert "http://127.0.0.1:4280/webhooks/github" in answer.html.text
    assert "a secret that only" not in answer.text
    assert "github.push" in answer.html.text


async def test_who_sends_to_events_is_told_apart_from_sources_of_before(
    house: House, browser: Browser
) -> None:
    """A source that was taken out of the file has sent webhooks."""
    await accept(house, type="gone.made", source="gone", door="webhooks/gone")
    await accept(house, type="crm.made", source="crm", door="events/local")
    text = (await browser.get("/sources")).html.text
    assert "crm.made" in text
    assert "gone.made" not in text


async def test_a_test_event_goes_through_the_door_like_any_other(house: House, browser: Browser) -> None:
    """It is what the provider would send: signed with the source's secret, verified, recorded, matched."""
    assert "<option>pull_request</option>" in (await browser.get("/sources")).text
    answer = await browser.submit("/actions/test", {"source": "github", "event": "push", "body": ""})
    assert answer.status == 303
    [event] = await house.inbox.search(Search())
    assert event.subject == "acme/shop"
    assert answer.header("location") == f"/events/{event.id}"
    assert (event.type, event.source) == ("github.push", "github")
    assert event.verdict.startswith("hmac-sha256")
    own = {"source": "github", "event": "issues", "body": '{"action": "closed"}'}
    assert (await browser.submit("/actions/test", own)).status == 303
    assert {each.type for each in await house.inbox.search(Search())} == {"github.push", "github.issues"}
    assert (await browser.submit("/actions/test", {"source": "stripe"})).status == 409
    assert (await browser.submit("/actions/test", {"source": "github", "event": "psh"})).status == 409


async def test_lineage_shows_an_event_with_what_came_of_it(house: House, browser: Browser) -> None:
    """A picture, and a list with the same for those who do not see it."""
    await deploy(house, trigger())
    event_id = await accept(house)
    dispatch = (await house.inbox.dispatches(event_id))[0]
    await house.inbox.settle_started(
        dispatch,
        flow_run_id="5f0a",
        flow_run_name="n",
        deployment_id="d",
        state="RUNNING",
        created=now(),
        at=now(),
    )
    answer = await browser.get(f"/lineage/event/{event_id}")
    labels = [a.get("aria-label") for a in answer.html.all("a") if "node" in (a.get("class") or "")]
    assert labels == ["Event shop.order, pending", "Flow run orders, running"] or labels == [
        "Event shop.order, dispatched",
        "Flow run orders, running",
    ]
    assert (await browser.get("/lineage/event/none")).status == 404
    assert (await browser.get("/lineage/planet/x")).status == 404
    asked = await browser.get("/lineage?kind=asset&id=s3%3A%2F%2Fshop%2Forders")
    assert asked.header("location") == "/lineage/asset/s3%3A%2F%2Fshop%2Forders"


# Live -------------------------------------------------------------------------------------------------


async def test_the_live_part_is_answered_at_once_and_then_only_with_news(
    house: House, browser: Browser
) -> None:
    """The script asks with what it has; a change answers it, and no change in time is 304."""
    await accept(house)
    first = await browser.get("/events", hookline_part="live")
    assert first.status == 200
    assert "<html" not in first.text
    etag = first.header("etag") or ""
    assert (await browser.get("/events", hookline_part="live", if_none_match=etag)).status == 304

    waiting = asyncio.create_task(
        LongBrowser(house).get("/events", hookline_part="live", if_none_match=etag, prefer="wait=15")
    )
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    event_id = await accept(house)
    async with asyncio.timeout(10):
        assert event_id in (await waiting).text


async def test_times_that_pass_are_no_news(house: House, browser: Browser) -> None:
    """How long ago something was changes by itself and does not make a page new."""
    await accept(house)
    first = await browser.get("/rejections", hookline_part="live")
    later = await browser.get("/rejections", hookline_part="live")
    assert first.header("etag") == later.header("etag")


class LongBrowser(Browser):
    """A browser that stays, however long the answer takes."""

    leaves = False


async def test_tokens_hold_over_pages(house: House, browser: Browser) -> None:
    """A form that was opened earlier is still good after other pages were looked at."""
    token = (await browser.get("/dead")).html.token
    other = replace(browser)
    await other.get("/events")
    assert (await other.get("/dead")).html.token == token
