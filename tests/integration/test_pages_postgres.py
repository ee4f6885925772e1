"""The pages read PostgreSQL as they read SQLite."""

from __future__ import annotations

from pathlib import Path

from hookline.event import Cause, new_id, now
from hookline.inbox import Rejection
from hookline.triggers import Trigger
from tests.unit.pages.support import Browser, accept, deploy, kill, open_house


async def test_every_page_is_there_with_postgresql(tmp_path: Path, postgres_inbox_url: str) -> None:
    """Each shows what the inbox holds, and an event is found by its sender's id."""
    async with open_house(tmp_path, database=postgres_inbox_url) as house:
        await deploy(house, Trigger(flow="book", deployment="orders", name="t", expect=("shop.*",)))
        event_id = await accept(house, source_id="evt-9", subject="order/7")
        await accept(house, type="crm.lead", source="crm", cause=Cause(event_id, "run-1", None))
        dispatch = await kill(house, event_id)
        rejection = Rejection(
            id=new_id(), at=now(), door="events", remote="", status=400, reason="r", detail="d", size=1
        )
        await house.inbox.reject([rejection])
        browser = Browser(house)
        for path, shown in (
            ("/", "order/7"),
            ("/events?type=shop.*&source=shop&status=dead&within=1h", "order/7"),
            (f"/events/{event_id}", "crm.lead"),
            ("/dead", "book/orders/t"),
            ("/rejections", "/events"),
            ("/sources", "crm.lead"),
            ("/lineage", "No assets yet"),
            (f"/lineage/event/{event_id}", "book/orders/t"),
        ):
            answer = await browser.get(path)
            assert answer.status == 200, answer.html.text
            assert shown in answer.html.text, path
        for words in ("evt-9", dispatch.id):
            assert (await browser.get(f"/find?q={words}")).header("location") == f"/events/{event_id}"
        done = await browser.submit("/actions/dead", {"dispatch": dispatch.id, "confirmed": "yes"})
        assert done.header("location") == "/dead?replayed=1"
        assert "No dead letters" in (await browser.get("/dead")).html.text
