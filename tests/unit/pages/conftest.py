"""A house and a browser for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.gateway import House
from tests.unit.pages.support import Browser, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Give a house without keys, as on a developer's machine."""
    async with open_house(tmp_path) as house:
        yield house


@pytest.fixture
def browser(house: House) -> Browser:
    """Give a browser on that machine."""
    return Browser(house)
