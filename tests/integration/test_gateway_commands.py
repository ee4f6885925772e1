"""Commands that read through the gateway, run as a person runs them, against one that answers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hookline.cli import main
from hookline.triggers import Trigger
from tests.support.gateway import KEY, RunningGateway, running_gateway
from tests.support.servers import free_port

SOURCES = """
sources:
  github: {recipe: github, secrets: ["${GITHUB_SECRET}"]}
  docker: {recipe: docker-hub, tokens: ["${DOCKER_TOKEN}"]}
  stripe: {recipe: stripe, secrets: ["${STRIPE_SECRET}"]}
  keyed: {recipe: standard-webhooks, secrets: ["file:keyed.secret"]}
"""
TRIGGER = Trigger(
    flow="book", deployment="on-paid", name="paid", expect=("order.paid",), where="data.amount > 100"
)
ENVIRON = {"GITHUB_SECRET": "a secret of github", "DOCKER_TOKEN": "an-opaque-token"}


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway with keys and those sources."""
    folder = tmp_path_factory.mktemp("gateway")
    async with running_gateway(
        folder, sources=SOURCES, environ=ENVIRON, keys=[KEY], triggers=[TRIGGER]
    ) as running:
        yield running


Run = Callable[..., Awaitable[str]]


@pytest.fixture
def hookline(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as a person would; give what it printed."""
    settings = gateway.house.settings
    for name in [each for each in os.environ if each.startswith("HOOKLINE_")]:
        monkeypatch.delenv(name)
    given = {
        **ENVIRON,
        "HOOKLINE_URL": gateway.url,
        "HOOKLINE_API_KEY": KEY,
        "HOOKLINE_SOURCES": str(settings.sources),
        "HOOKLINE_DATA": str(settings.data),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(settings.data)

    def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hookline", *arguments])
        printed = io.StringIO()
        shown = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed)
        with shown[0], shown[1], pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), printed.getvalue()

    async def command(*arguments: str, code: int = 0) -> str:
        # In a thread, because the gateway answers in this one.
        exit_code, printed = await asyncio.to_thread(run, arguments)
        assert exit_code == code, printed
        return printed

    return command


async def test_ls_says_what_is_proved_and_what_is_missing(gateway: RunningGateway, hookline: Run) -> None:
    """One line a source; below, what has to be set. No secret is shown."""
    shown = await hookline("sources", "ls")
    assert "verified" in shown
    assert "stripe: set STRIPE_SECRET" in shown
    found = {each["name"]: each for each in json.loads(await hookline("sources", "ls", "--json"))["sources"]}
    assert (found["github"]["verified"], found["github"]["state"]) == (True, "ready")
    assert (found["stripe"]["verified"], found["stripe"]["state"]) == (False, "not ready")
    assert found["docker"]["address"] == f"{gateway.url}/webhooks/docker/<token>"
    assert found["github"]["secrets"] == ["GITHUB_SECRET"]
    assert not any(secret in shown + str(found) for secret in ENVIRON.values())


async def test_ls_says_what_the_gateway_knows_and_not_this_shell(
    gateway: RunningGateway, hookline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secrets are the gateway's: a shell without them sees the same. Without one the file is read."""
    monkeypatch.delenv("GITHUB_SECRET")
    found = json.loads(await hookline("sources", "ls", "--json"))["sources"]
    answer = await gateway.http.get("/sources", headers={"Authorization": f"Bearer {KEY}"})
    assert [{**each, "address": f"{gateway.url}{each['path']}"} for each in answer.json()["sources"]] == found
    assert found[0]["state"] == "ready"
    monkeypatch.setenv("HOOKLINE_URL", f"http://127.0.0.1:{free_port()}")
    assert "this shell" in (shown := await hookline("sources", "ls"))
    assert "github: set GITHUB_SECRET" in shown


async def test_test_sends_what_the_gateway_accepts(gateway: RunningGateway, hookline: Run) -> None:
    """Signed by hand for GitHub, by address for Docker Hub; the tracking id comes back."""
    event = await gateway.stored((await hookline("sources", "test", "github", "--kind", "push")).strip())
    assert event.type == "github.push"
    shown = await hookline("sources", "test", "docker", "--data", '{"push_data": {}}', "--json")
    assert json.loads(shown)["status"] in (200, 202)
    assert "no source `none`" in await hookline("sources", "test", "none", code=1)
    assert "STRIPE_SECRET" in await hookline("sources", "test", "stripe", code=1)


async def test_rotate_makes_a_secret_and_says_how_it_takes_over(
    gateway: RunningGateway, hookline: Run
) -> None:
    """A new value in the form that the recipe reads, the variable for it, and both in `sources.yaml`."""
    token = json.loads(await hookline("sources", "rotate", "docker", "--json"))
    assert (token["rotates"], token["origin"]) == ("tokens", "DOCKER_TOKEN_2")
    assert "tokens: [${DOCKER_TOKEN_2}, ${DOCKER_TOKEN}]" in " ".join(token["steps"])
    assert f"{gateway.url}/webhooks/docker/{token['value']}" in " ".join(token["steps"])
    secret = await hookline("sources", "rotate", "github")
    assert "secrets: [${GITHUB_SECRET_2}, ${GITHUB_SECRET}]" in secret
    keyed = json.loads(await hookline("sources", "rotate", "keyed", "--json"))
    assert keyed["origin"] == "keyed.secret_2"
    assert keyed["value"].startswith("whsec_")
    assert "file:keyed.secret_2" in " ".join(keyed["steps"])


async def test_rejections_lists_what_was_turned_away(gateway: RunningGateway, hookline: Run) -> None:
    """When, at which door, from where and why; as JSON what `GET /rejections` gives."""
    await gateway.http.post("/webhooks/github", content=b"{}")
    shown = await hookline("rejections", "--limit", "1")
    assert "webhooks/github" in shown
    assert "no-signature" in shown
    found = json.loads(await hookline("rejections", "--json"))["rejections"]
    assert found[0]["reason"] == "no-signature"


@pytest.mark.parametrize(
    ("type", "amount", "code", "told"),
    [
        ("order.pad", 200, 0, "because no trigger expects order.pad; did you mean order.paid?"),
        ("order.paid", 3, 0, "data.amount > 100 does not hold, data.amount is 3"),
        ("order.paid", 200, 1, "because Prefect is away since 20"),
    ],
    ids=["unexpected", "filtered", "waits"],
)
async def test_it_is_said_why_nothing_came_of_an_event(
    hookline: Run, type: str, amount: int, code: int, told: str
) -> None:
    """Or nothing yet: by `send --wait`, and later by `trace` and `events show`."""
    sent = ("send", type, "--data", json.dumps({"amount": amount}), "--wait", "--timeout", "2")
    shown = await hookline(*sent, code=code)
    assert told in shown
    event_id = next(word for word in shown.split() if word.startswith("01"))
    assert told in await hookline("trace", event_id)
    assert told in " ".join((await hookline("events", "show", event_id)).split())


async def test_the_end_of_an_id_is_enough(gateway: RunningGateway, hookline: Run) -> None:
    """The 8 digits that pages show, or a run's name, wherever an id is asked for."""
    event_id = (await hookline("send", "order.lost")).strip()
    end = event_id[-8:]
    for short in (end, end.upper(), event_id[-12:], f"order.lost-{end}", event_id):
        assert event_id in await hookline("events", "show", short)
        assert event_id in await hookline("trace", short)
    assert "book/on-paid" not in await hookline("replay", end)
    assert "0 runs" in await hookline("impact", end)
    assert "No id ends with 00000000" in await hookline("events", "show", "00000000", code=1)
    assert "No id ends with 00000000" in await hookline("dead", "replay", "00000000", code=1)
    key = {"Authorization": f"Bearer {KEY}"}
    found = (await gateway.http.get(f"/events?type=order.*&id={end[-6:]}", headers=key)).json()["events"]
    assert [each["id"] for each in found] == [event_id]
    assert (await gateway.http.get(f"/events?type=other&id={end}", headers=key)).json()["events"] == []
    assert (await gateway.http.get("/events?id=x", headers=key)).status_code == 400


async def test_what_a_sender_chose_is_printed_as_it_is(hookline: Run) -> None:
    """It is no markup, and a name between colons is no picture."""
    subject = "[/bold] [red]x :smile:"
    event_id = (await hookline("send", "order.lost", "--subject", subject)).strip()
    for command in (("events", "show", event_id), ("trace", event_id), ("events", "ls")):
        assert subject in await hookline(*command)
