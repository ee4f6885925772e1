"""What `up` decides before it starts anything: environment, ports, secrets, the sample, what to paste."""

from __future__ import annotations

import hashlib
import hmac
import json
import shlex
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hookline.cli import services
from hookline.cli.data_folder import locked, read_running, write_running
from hookline.cli.deploy import deploy
from hookline.cli.examples import event_curl, github_curl, prepare_sample
from hookline.cli.services import Plan
from hookline.cli.up import made_up_secrets, up
from hookline.errors import HooklineError
from hookline.settings import Settings
from hookline.sources import load_sources
from hookline.sources.development import development_secrets, missing_secrets

SOURCES = """
sources:
  github: {recipe: github, secrets: ["${GITHUB_WEBHOOK_SECRET}"]}
  stripe: {recipe: stripe, secrets: ["${STRIPE_SECRET}"]}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give settings for an empty project with two sources, whose secrets are not set."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_WEBHOOK_SECRET", "STRIPE_SECRET", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "sources.yaml").write_text(SOURCES)
    return Settings(data=tmp_path / "data", sources=tmp_path / "sources.yaml")


def test_a_server_of_its_own_gets_a_home_of_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person's profile and cloud key mean nothing to the server in the data folder."""
    monkeypatch.setenv("PREFECT_PROFILE", "production")
    monkeypatch.setenv("PREFECT_API_KEY", "a key for elsewhere")
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    env = Plan(settings, None, {}).environment()
    assert env["PREFECT_HOME"] == str(settings.data / "prefect")
    assert env["PREFECT_API_URL"] == f"http://127.0.0.1:{settings.prefect_port}/api"
    assert not {"PREFECT_PROFILE", "PREFECT_API_KEY"} & env.keys()


@pytest.mark.parametrize(
    "given", ["http://p.internal:4200", "http://p.internal:4200/", "http://p.internal:4200/api"]
)
def test_an_existing_server_is_used_with_the_persons_own_prefect_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """`--server` takes the address with or without `/api`, and leaves profile, key and home alone."""
    monkeypatch.setenv("PREFECT_API_KEY", "a key for it")
    env = Plan(settings, given, {}).environment()
    assert env["PREFECT_API_URL"] == "http://p.internal:4200/api"
    assert env["PREFECT_API_KEY"] == "a key for it"
    assert "PREFECT_HOME" not in env


@pytest.mark.parametrize("server", ["nonsense", "localhost:4200", "ftp://prefect.internal", "http://", ""])
def test_a_server_without_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Instead of being waited for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.yaml").write_text("deployments: []")
    with pytest.raises(HooklineError, match=r"is no address of a Prefect server; write http://host:port"):
        up(server=server)
    assert [each.name for each in tmp_path.iterdir()] == ["prefect.yaml"]


@pytest.mark.parametrize("command", [up, deploy])
def test_a_folder_without_a_project_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[], object]
) -> None:
    """`hookline init` can then make one there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HooklineError, match=r"There is no prefect\.yaml here.*hookline init"):
        command()
    assert list(tmp_path.iterdir()) == []


def test_only_the_gateway_has_the_secrets(settings: Settings) -> None:
    """It makes them up itself, as sources come; flows have no business with them."""
    plan = Plan(settings, None, {"GITHUB_WEBHOOK_SECRET": "s"})
    assert "--development-secrets" in services.gateway(plan, []).command
    for service in (services.gateway(plan, []), services.worker(plan), services.server(plan)):
        assert "GITHUB_WEBHOOK_SECRET" not in service.env


@pytest.mark.parametrize("setting", ["HOOKLINE_PORT", "HOOKLINE_PREFECT_PORT"])
def test_a_port_that_is_taken_is_named_with_its_setting(settings: Settings, setting: str) -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        field = setting.removeprefix("HOOKLINE_").lower()
        plan = Plan(settings.model_copy(update={field: taken.getsockname()[1]}), None, {})
        with pytest.raises(HooklineError, match=f"Set {setting} to a free port"):
            services.listen(plan)


def test_secrets_for_development_are_made_once_and_for_the_owners_eyes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each variable that is not set; the same at each start; in a file that only its owner can read."""
    made = made_up_secrets(settings)
    assert made.keys() == {"GITHUB_WEBHOOK_SECRET", "STRIPE_SECRET"}
    assert len(set(made.values())) == 2
    assert made_up_secrets(settings) == made
    assert stat.S_IMODE((settings.data / "development-secrets.json").stat().st_mode) == 0o600
    monkeypatch.setenv("STRIPE_SECRET", "a real one")
    assert made_up_secrets(settings) == {"GITHUB_WEBHOOK_SECRET": made["GITHUB_WEBHOOK_SECRET"]}


def test_a_secret_for_basic_authentication_has_a_user(tmp_path: Path) -> None:
    """Without one it would be of no use."""
    (tmp_path / "sources.yaml").write_text("sources: {azure: {recipe: azure-devops, secrets: [${AZURE}]}}")
    sources = load_sources(tmp_path / "sources.yaml", {})
    made = missing_secrets(sources, tmp_path)
    assert made["AZURE"].startswith("hookline:")
    assert not load_sources(tmp_path / "sources.yaml", made)["azure"].unusable
    assert missing_secrets(sources, tmp_path) == made


def test_off_the_loopback_no_secret_is_made_up(settings: Settings) -> None:
    """A source without its secret stays shut there."""
    assert made_up_secrets(settings.model_copy(update={"host": "0.0.0.0"})) == {}  # noqa: S104 (nothing is bound)
    assert not settings.data.exists()


def test_one_up_holds_a_data_folder(tmp_path: Path) -> None:
    """A second one is told who holds it; other commands learn what runs there, and nothing when none does."""
    with locked(tmp_path):
        write_running(tmp_path, {"pid": 17, "gateway": "http://127.0.0.1:4280"})
        with (
            pytest.raises(HooklineError, match=r"process 17, gateway http://127\.0\.0\.1:4280"),
            locked(tmp_path),
        ):
            pass
        assert (read_running(tmp_path) or {})["pid"] == 17
    assert read_running(tmp_path) is None


def test_a_secret_that_is_known_is_not_lost_when_others_come(tmp_path: Path) -> None:
    """Sources may be added and taken away; a secret once configured at a sender stays good."""
    first = development_secrets(tmp_path, {"A": ""})
    development_secrets(tmp_path, {"B": ""})
    assert development_secrets(tmp_path, {"A": ""}) == first


def test_the_sample_brings_its_files_along(settings: Settings, tmp_path: Path) -> None:
    """`{files}` in the event becomes the address of the folder to which they were copied."""
    sample = tmp_path / "deployments/sample"
    sample.mkdir(parents=True)
    (sample / "ports.csv").write_text("name\nBergen\n")
    (sample / "event.json").write_text('{"type": "resource.ready", "data": {"url": "{files}/ports.csv"}}')
    event = prepare_sample(settings.data)
    assert event is not None
    assert event["data"]["url"] == (settings.data / "files/ports.csv").as_uri()
    assert (settings.data / "files/ports.csv").read_text() == "name\nBergen\n"


def test_a_project_need_not_have_a_sample(settings: Settings) -> None:
    """Then none is sent."""
    assert prepare_sample(settings.data) is None


def test_the_printed_delivery_is_signed_as_github_signs(tmp_path: Path) -> None:
    """HMAC-SHA256 of the very bytes that the shell hands to curl; another push each time it is printed."""
    (tmp_path / "sources.yaml").write_text("sources: {github: {recipe: github, secrets: [${S}]}}")
    source = load_sources(tmp_path / "sources.yaml", {"S": "it's secret"})["github"]
    words = shlex.split(github_curl("http://127.0.0.1:4280", source))
    body = words[words.index("-d") + 1]
    signature = hmac.new(b"it's secret", body.encode(), hashlib.sha256).hexdigest()
    assert f"X-Hub-Signature-256: sha256={signature}" in words
    assert json.loads(body)["repository"]["full_name"] == "acme/shop"
    assert body not in github_curl("http://127.0.0.1:4280", source)


def test_a_printed_event_does_not_show_the_key() -> None:
    """The shell takes it from the environment."""
    command = event_curl("http://127.0.0.1:4280", {"type": "a.b", "data": {"text": "it's"}}, key_wanted=True)
    assert "$HOOKLINE_API_KEY" in command
    assert json.loads(shlex.split(command)[shlex.split(command).index("-d") + 1])["data"]["text"] == "it's"
