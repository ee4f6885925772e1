"""One dispatch starts one run: through crashes, lost answers, refusals, and a Prefect that is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from hookline import aside, offered
from hookline import dispatch as dispatching
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import Cause
from hookline.prefect_rows import NewRun
from hookline.sealed import opened, seal
from hookline.stamps import link_text
from hookline.testing import make_event
from hookline.triggers import Trigger
from tests.support.dispatching import Bench
from tests.support.inboxes import START, draft


def deliver(**more: Any) -> Trigger:
    return Trigger(
        flow="deliver", deployment="now", name="sent", expect=("sent",), **{"passes_event": True, **more}
    )


async def test_an_event_starts_one_run_with_its_stamps(bench: Bench) -> None:
    """The key, the name, the tags, and the event as the flow's parameter."""
    await bench.deploy(deliver())
    event_id = await bench.send("sent", {"parcel": 7}, source="shop")
    await bench.work()
    await bench.work()

    [new] = bench.prefect.news
    [dispatch] = await bench.inbox.dispatches(event_id)
    assert new.idempotency_key == f"hookline:{dispatch.id}"
    assert new.name == f"sent-{event_id[-8:]}"
    identity = await bench.inbox.identity()
    assert list(new.tags) == [f"event:{event_id}", "event-type:sent", "source:shop", f"inbox:{identity}"]
    assert new.parameters["event"]["data"] == {"parcel": 7}
    assert (dispatch.status.value, dispatch.attempts, dispatch.flow_run_id) == ("started", 1, "run-0")
    [(_, event, run)] = bench.started
    assert (event.id, run.id) == (event_id, "run-0")


async def test_after_a_crash_everything_is_found_in_the_inbox(bench: Bench) -> None:
    """Accepted and not routed, routed and not started, started and not settled: each goes on, once."""
    await bench.deploy(deliver())
    unrouted, _ = await bench.inbox.record(draft("sent"), accepted=bench.clock())
    routed = await bench.send("sent")
    event = await bench.inbox.full_event(routed)
    assert event is not None
    await bench.dispatcher.route([event])
    bench.restart()
    bench.prefect.answer_lost = True
    await bench.dispatcher.recover()
    await bench.work()  # the first creation happens, and its answer is lost
    bench.restart()
    await bench.dispatcher.recover()
    bench.clock.advance(minutes=1)
    await bench.work()

    assert sorted(bench.events_started) == sorted([unrouted.id, routed])
    assert len(bench.prefect.created) == 2
    assert await bench.statuses([unrouted.id, routed]) == ["started", "started"]


async def test_an_event_that_is_found_twice_is_counted_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery and the door may both hand an event over, expected or not: its receipt has one `routed`."""
    counted: list[str] = []
    monkeypatch.setattr(
        bench.dispatcher.metrics, "routed", lambda events, at: counted.extend(event.id for event in events)
    )
    await bench.deploy(deliver())
    sent = [await bench.send(type) for type in ("sent", "unheard-of")]
    await bench.work()  # what the inbox holds unrouted, then what the door offered

    assert sorted(counted) == sorted(sent)


async def test_a_replacement_of_ids_in_prefect_is_looked_up_once_more(bench: Bench) -> None:
    """The deployment was deleted and deployed again: its name is the same, its id is not."""
    await bench.deploy(deliver())
    await bench.send("sent")
    await bench.work()
    refusals = [PrefectRefused("404", 404, "")]
    bench.prefect.refuses = lambda _: refusals.pop() if refusals else None
    again = await bench.send("sent")
    await bench.work()

    assert await bench.statuses([again]) == ["started"]


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_a_refusal_is_a_dead_letter_at_once_with_reason_and_response(bench: Bench, status: int) -> None:
    """Prefect says that the request is wrong; trying again would not help, a replay may."""
    await bench.deploy(deliver())
    bench.prefect.refuses = lambda _: PrefectRefused("parameters do not fit", status, '{"detail": "why"}')
    event_id = await bench.send("sent")
    await bench.work()

    [dead] = await bench.inbox.dead(limit=10)
    assert (dead.event_id, dead.reason, dead.response) == (
        event_id, "parameters do not fit", '{"detail": "why"}',
    )  # fmt: skip
    assert dead.attempts == 1
    stored = await bench.inbox.event(event_id)
    assert stored is not None
    assert stored.status.value == "dead"


async def test_while_prefect_is_away_events_wait_and_nobody_is_dead(bench: Bench) -> None:
    """They are accepted and matched, say what they wait for, and start when it is back, in order."""
    await bench.deploy(deliver())
    await bench.send("sent")
    await bench.work()
    bench.prefect.is_away = True
    bench.clock.advance(minutes=1)
    waiting = [await bench.send("sent") for _ in range(3)]
    for _ in range(5):
        await bench.work()
    [first] = await bench.inbox.dispatches(waiting[0])
    assert first.status.value == "pending"
    assert first.reason == "Prefect does not answer: ConnectError"

    bench.prefect.is_away = False
    await bench.work()
    assert bench.events_started[1:] == waiting
    [first] = await bench.inbox.dispatches(waiting[0])
    assert first.reason is None
    assert first.attempts > 1


@pytest.mark.parametrize("status", [401, 403, 408, 429, 502, 503, 504])
async def test_what_prefect_says_of_us_or_of_itself_is_not_held_against_an_event(
    bench: Bench, status: int
) -> None:
    """Overloaded, behind a broken proxy, or our credentials are wrong: the event stays first in its lane."""
    await bench.deploy(deliver())
    failures = [PrefectUnavailable(f"Prefect answered {status}", None, status)]
    bench.prefect.refuses = lambda _: failures.pop() if failures else None
    sent = [await bench.send("sent") for _ in range(2)]
    await bench.work()
    assert bench.prefect.created == []
    await bench.work()

    assert bench.events_started == sent


async def test_one_event_that_prefect_fails_on_does_not_hold_up_the_others(bench: Bench) -> None:
    """A 500 for one request: it waits in the inbox, longer each time, and the ones behind it pass."""
    await bench.deploy(deliver())

    def poisoned(new: NewRun) -> Exception | None:
        return PrefectUnavailable("Prefect answered 500", None, 500) if b"poison" in new.to_json() else None

    bench.prefect.refuses = poisoned
    poison = await bench.send("sent", "poison")
    good = [await bench.send("sent") for _ in range(3)]
    await bench.work()
    await bench.work()
    assert bench.events_started == good
    assert await bench.statuses([poison]) == ["pending"]

    bench.prefect.refuses = lambda _: None
    await bench.pass_time(seconds=31)
    assert bench.events_started == [*good, poison]


async def test_a_loop_is_dead(bench: Bench) -> None:
    """A chain of events deeper than 32 is taken for one that has no end."""
    bench.default_limit = 100
    bench.restart()
    await bench.deploy(deliver())
    event_id = (await bench.inbox.record(draft("first"), accepted=bench.clock()))[0].id
    for depth in range(1, 34):
        bench.clock.advance(seconds=1)
        event_id = await bench.send("sent", cause=Cause(event=event_id, flow_run=f"r{depth}"))
        await bench.work()

    [dispatch] = await bench.inbox.dispatches(event_id)
    assert (dispatch.status.value, dispatch.reason) == ("dead", "loop")
    assert len(bench.prefect.created) == 32


async def test_an_event_that_fits_no_parameter_goes_as_a_claim_check(bench: Bench) -> None:
    """Prefect measures parameters with all but ASCII escaped: 200 KB of Cyrillic are too much."""
    await bench.deploy(deliver())
    ascii_id = await bench.send("sent", "x" * 400_000)
    await bench.send("sent", "ж" * 100_000)
    await bench.send("sent", 1, by_reference=True)
    await bench.work()

    in_parameters, too_large, by_reference = [new.parameters["event"] for new in bench.prefect.news]
    assert in_parameters["id"] == ascii_id
    assert len(in_parameters["data"]) == 400_000
    for event in (too_large, by_reference):
        assert "data" not in event
        assert event["claim"]["url"] == f"http://127.0.0.1:4280/events/{event['id']}/body"


async def test_what_prefect_would_interpret_is_sealed(bench: Bench) -> None:
    """A sender must not be able to have blocks or variables of the workspace filled in.

    Sealed data is of another form than the flow's schema asks for, so the server is not to look at that.
    """
    await bench.deploy(deliver())
    data = {"a": [{"__prefect_kind": "workspace_variable", "variable_name": "secret"}]}
    await bench.send("sent", data)
    await bench.send("sent", {"a": ["plain"]})
    await bench.work()

    sealed, plain = [orjson.loads(new.to_json()) for new in bench.prefect.news]
    assert sealed["parameters"]["event"]["data"] == seal(data) != data
    assert sealed["parameters"]["event"]["type"] == "sent"
    assert sealed["enforce_parameter_schema"] is False
    assert plain["parameters"]["event"]["data"] == {"a": ["plain"]}
    assert "enforce_parameter_schema" not in plain


async def test_sealed_parameters_have_to_fit_the_flow_too(bench: Bench) -> None:
    """A sender cannot switch the look at the schema off; a default of the deployment is not missing."""
    order = {"type": "object", "properties": {"$ref": {}, "n": {"type": "integer"}}, "required": ["$ref"]}
    bench.prefect.schema = {
        "type": "object",
        "properties": {"order": order, "n": {"type": "integer"}},
        "required": ["order", "n"],
    }
    await bench.deploy(deliver(parameters={"order": "{{ event.payload }}"}))
    await bench.send("sent", {"$ref": "x", "n": 5})
    await bench.send("sent", {"$ref": "x", "n": "five"})
    await bench.work()

    assert [opened(new.parameters) for new in bench.prefect.news] == [{"order": {"$ref": "x", "n": 5}}]
    [dead] = await bench.inbox.dead(limit=2)
    assert "do not fit the flow: Validation failed for field 'order.n'" in (dead.reason or "")


async def test_an_event_that_sealing_makes_too_large_goes_as_a_claim_check(bench: Bench) -> None:
    """Each quote and control character of the text is escaped once more."""
    await bench.deploy(deliver())
    await bench.send("sent", {"a": "\x01" * 75_000})
    await bench.send("sent", {"$ref": "\x01" * 75_000})
    await bench.work()

    whole, claimed = [new.parameters["event"] for new in bench.prefect.news]
    assert len(whole["data"]["a"]) == 75_000
    assert "data" not in claimed
    assert "claim" in claimed


async def test_schedule_after_is_a_time_of_prefects_and_takes_no_place(bench: Bench) -> None:
    """The run is created now, and is due later; until then others may be created."""
    bench.default_limit = 2
    bench.restart()
    await bench.deploy(deliver(schedule_after=timedelta(hours=1)))
    for _ in range(5):
        await bench.send("sent")
    await bench.work()

    assert len(bench.prefect.created) == 5
    assert {new.scheduled for new in bench.prefect.news} == {START + timedelta(hours=1)}


async def test_what_memory_cannot_hold_is_found_in_the_inbox_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst larger than memory: nothing is lost, and younger events do not overtake."""
    monkeypatch.setattr(offered, "LIMIT", 5)
    monkeypatch.setattr(dispatching, "ROUTE_LIMIT", 3)
    bench.default_limit = 100
    bench.restart()
    await bench.deploy(deliver())
    sent = [await bench.send("sent", number) for number in range(20)]
    await bench.work()

    assert bench.events_started == sent


async def test_a_fault_of_ours_stops_no_other_event(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be matched at all is a dead letter that says so; the rest of its batch goes on."""
    await bench.deploy(deliver())
    real = aside.plan

    def broken(event: Any, *rest: Any, **more: Any) -> Any:
        if event.data == "broken":
            raise ZeroDivisionError
        return real(event, *rest, **more)

    monkeypatch.setattr(aside, "plan", broken)
    good, bad, better = [await bench.send("sent", data) for data in ("a", "broken", "b")]
    await bench.work()

    assert bench.events_started == [good, better]
    [dispatch] = await bench.inbox.dispatches(bad)
    assert (dispatch.status.value, dispatch.reason) == ("dead", "internal error: ZeroDivisionError")


async def test_an_event_whose_body_cannot_be_read_is_dead_and_stops_nobody(bench: Bench) -> None:
    """After a restart data is read back from the received bytes; where that fails somebody can see it."""
    await bench.deploy(deliver())
    bad, _ = await bench.inbox.record(draft("sent", body=b"{"), accepted=bench.clock())
    good, _ = await bench.inbox.record(draft("sent"), accepted=bench.clock())
    await bench.work()

    assert bench.events_started == [good.id]
    assert await bench.statuses([bad.id]) == ["dead"]


async def test_a_deploy_between_two_events_counts_from_the_second_on(bench: Bench) -> None:
    """An event is matched once, against one version; later versions reach it only by replay."""
    await bench.deploy(deliver())
    before = await bench.send("sent")
    await bench.work()
    await bench.deploy(deliver(enabled=False))
    after = await bench.send("sent")
    await bench.work()

    assert bench.events_started == [before]
    stored = await bench.inbox.event(after)
    assert stored is not None
    assert stored.status.value == "ignored"


async def test_a_trigger_set_of_a_later_hookline_makes_events_wait(bench: Bench) -> None:
    """Ignoring a key that is not known could start what it should have held back."""

    class Later:
        def to_dict(self) -> dict[str, Any]:
            return {**deliver().to_dict(), "unheard_of": True}

    await bench.inbox.save_trigger_set([Later()])
    with pytest.raises(InboxError, match="hookline deploy"):
        await bench.dispatcher.trigger_sets.in_force()


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("order.paid", "order.paid"),
        ("a](https://evil.example) [", r"a\]\(https://evil.example\) \["),
        ("<b>`x`!", r"\<b\>\`x\`\!"),
        ("\\]", r"\\\]"),
    ],
)
def test_a_type_makes_no_markdown_of_the_link_to_its_trace(type: str, text: str) -> None:
    """People click on that link in the Prefect UI; a sender chooses the type."""
    event = make_event(type)
    assert link_text(event) == f"{text} {event.id}"
