"""A dispatcher on a clock of its own, over an inbox in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hookline.inbox import Inbox
from tests.support.dispatching import Bench
from tests.support.inboxes import Clock


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Inbox.open("sqlite://") as inbox:
        yield Bench(inbox, Clock())
