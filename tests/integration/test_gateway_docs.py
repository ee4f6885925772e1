"""The commands of docs/webhooks.md and docs/api.md, run as they are printed there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import running_gateway
from tests.support.up import REPOSITORY

SOURCES = """
sources:
  github: {recipe: github, secrets: ["${GITHUB_WEBHOOK_SECRET}"]}
  docker: {recipe: docker-hub, tokens: ["${DOCKER_HUB_TOKEN}"]}
"""
ENVIRON = {"GITHUB_WEBHOOK_SECRET": "a secret of github", "DOCKER_HUB_TOKEN": "an-opaque-token"}
#: Says of each answer what its status was, and remembers the newest tracking id.
PRELUDE = """\
set -uo pipefail
curl() {
  local body; body=$(command curl -sS --max-time 20 -w '\\n%{http_code}' "$@")
  echo "STATUS ${body##*$'\\n'}"
  local found; found=$(printf '%s' "$body" | sed -n 's/^{"id":"\\([0-9a-f-]*\\)".*/\\1/p')
  if [ -n "$found" ]; then ID=$found; fi
}
"""


def blocks(page: str) -> Iterator[str]:
    """Yield the shell blocks of a page."""
    text = (REPOSITORY / "docs" / page).read_text()
    yield from re.findall(r"^ *```bash\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["webhooks.md", "api.md"])
async def test_every_command_answers_as_it_is_printed(tmp_path: Path, page: str) -> None:
    """One shell runs all blocks of a page, in order; each `# 202 ...` is the status of the curl above it."""
    script = PRELUDE + "\n".join(blocks(page))
    expected = re.findall(r"^# (\d{3})\b", script, re.MULTILINE)
    async with running_gateway(tmp_path, sources=SOURCES, environ=ENVIRON) as gateway:
        environment = {
            **os.environ,
            **ENVIRON,
            "HOOKLINE_URL": gateway.url,
            "HOOKLINE_API_KEY": "none-is-asked-for",
        }
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", script], env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^STATUS (\d+)", done.stdout, re.MULTILINE) == expected, done.stdout + done.stderr
    assert len(expected) >= script.count("\ncurl ") - 1  # that of the prelude
