"""All settings, each default written once here; read once at the start, validated and frozen."""

from __future__ import annotations

import os
import re
import sys
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hookline.errors import SettingsError
from hookline.faults import Fault, in_order
from hookline.setting_faults import PREFIX, invalid_settings, unknown_settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _split(value: object) -> object:
    return [part for part in value.replace(",", " ").split() if part] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Hookline's settings: environment variables `HOOKLINE_<NAME>`, or the same names in a `.env` file.

    Fields are documented one by one in `docs/operate.md`, which a test holds against this class.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    data: Path = Field(Path(".hookline"), description="The data folder; it holds PREFECT_HOME too.")
    host: str = Field("127.0.0.1", description="Address the gateway binds to.")
    port: int = Field(4280, ge=0, le=65535, description="Port the gateway binds to.")
    url: str = Field("", description="Address at which others reach the gateway; made from host and port.")
    database: str = Field("", repr=False, description="SQLAlchemy address of the inbox; by default SQLite.")
    api_keys: Names = Field(
        (), repr=False, description="API keys, `key` or `scope:key`, several separated by spaces."
    )
    key_rate: str = Field("", description="Requests that each API key may make, such as 100/s; empty: any.")
    api_key: str = Field("", repr=False, description="The key that `send` and the command line use.")
    prefect_port: int = Field(4200, ge=0, le=65535, description="Port of the server that `up` starts.")
    sources: Path = Field(Path("deployments/sources.yaml"), description="The file that declares sources.")
    body_limit_bytes: int = Field(1_048_576, gt=0, description="Largest body accepted.")
    trusted_proxies: Names = Field((), description="Addresses whose Forwarded headers are believed.")
    dispatch_limit: int = Field(10, gt=0, description="Outstanding runs a deployment, where no pool limit.")
    retention_days: int = Field(30, gt=0, description="Days for which finished events are kept.")
    retention_body_days: int = Field(30, gt=0, description="Days for which bodies of those are kept.")
    retention_megabytes: int = Field(0, ge=0, description="Size above which the oldest go; 0: any size.")
    openlineage_url: str = Field("", description="Endpoint that OpenLineage events are posted to.")
    openlineage_api_key: str = Field("", repr=False, description="Bearer token for that endpoint.")
    openlineage_file: str = Field("", description="File that OpenLineage events are added to.")
    openlineage_namespace: str = Field("prefect", min_length=1, description="Namespace of its jobs.")

    @property
    def database_url(self) -> str:
        """Return the inbox's SQLAlchemy address."""
        return self.database or f"sqlite:///{(self.data / 'inbox.db').absolute()}"

    @property
    def gateway_url(self) -> str:
        """Return the address at which others reach the gateway, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def on_loopback(self) -> bool:
        """Return whether the gateway can be reached from this machine alone."""
        return self.host in LOOPBACK

    @property
    def retention(self) -> timedelta:
        """Return for how long finished events are kept."""
        return timedelta(days=self.retention_days)


def without_user(url: str) -> str:
    """Return an address as it may be shown: a name and password in it are left out."""
    return re.sub(r"//[^/?#]*@", "//", url)


def load_settings(folder: Path = Path()) -> Settings:
    """Read the settings from the environment and the `.env` of a folder.

    A variable of the environment that looks like a setting and is none is said on the standard error, once:
    it may be somebody else's. In the `.env` it is an error.

    Raises
    ------
    SettingsError: a value cannot be used, or the `.env` has a setting that there is none; names all.
    """
    settings, faults = read_settings(folder)
    if settings is None:
        raise SettingsError(*(fault for fault in faults if not fault.warning))
    for fault in faults:
        _warn(str(fault))
    return settings


def read_settings(folder: Path) -> tuple[Settings | None, list[Fault]]:
    """Return the settings, None where they cannot be used, and all that is wrong with them."""
    file = folder / ".env"
    settings: Settings | None = None
    faults: list[Fault] = []
    try:
        settings = Settings(_env_file=file)
    except ValidationError as wrong:
        faults += invalid_settings(wrong, file, os.environ)
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    sources = settings.sources if settings else Settings.model_fields["sources"].default
    faults += unknown_settings(file, os.environ, known, (folder / "prefect.yaml", folder / sources))
    usable = not any(not fault.warning for fault in faults)
    return settings if usable else None, in_order(faults)


@cache
def _warn(line: str) -> None:
    print(f"hookline: warning: {line}", file=sys.stderr)
