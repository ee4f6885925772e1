"""Settings of the tasks, each default written once here; read once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hookline.settings import load_settings


def _split(value: object) -> object:
    return [part for part in value.replace(",", " ").split() if part] if isinstance(value, str) else value


class TaskSettings(BaseSettings):
    """Settings of the tasks: environment variables `TASKS_<NAME>`; `docs/flows.md` tells of each."""

    model_config = SettingsConfigDict(env_prefix="TASKS_", env_file=".env", extra="ignore", frozen=True)

    folders: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Folders that files may be read from; by default `files` in the data folder.",
    )
    hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="Hosts (`name`, `*.name`, `name:port`) that may be fetched from although inside."
    )
    fetch_limit_bytes: int = Field(1_073_741_824, gt=0, description="Largest file that is fetched.")
    fetch_limit_seconds: float = Field(900, gt=0, description="Longest time that one attempt to fetch takes.")
    lock_wait_seconds: float = Field(60, gt=0, description="How long an attempt waits for the warehouse.")

    @property
    def data(self) -> Path:
        """Return Hookline's data folder."""
        return load_settings().data.absolute()

    @property
    def warehouse(self) -> Path:
        """Return the DuckDB file."""
        return self.data / "warehouse.duckdb"

    @property
    def file_folders(self) -> tuple[Path, ...]:
        """Return the folders from which file addresses may be read."""
        return self.folders or (self.data / "files",)


@functools.cache
def task_settings() -> TaskSettings:
    """Return the settings; the environment is read on the first call."""
    return TaskSettings()
