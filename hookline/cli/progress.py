"""Steps that take a while, side by side: a moving display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from hookline.cli.output import duration

#: Where nothing moves on the screen, a line tells what a step is doing, this often.
TELL_SECONDS = 15.0


@dataclass
class Step:
    """One step under way; set `detail` to what is worth knowing once it is done."""

    name: str
    started: float
    detail: str = ""
    #: What it is doing, and when that was last printed.
    doing: str = ""
    told: float = 0.0

    @property
    def elapsed(self) -> str:
        """Return for how long it has been under way, for people."""
        return duration(timedelta(seconds=time.monotonic() - self.started))


class Progress:
    """Shows steps while they run and a line for each that ended; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: list[Step] = []
        self._live = Live(console=console, get_renderable=self._spinners, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show a step for as long as the block runs, then how it ended and how long it took."""
        step = Step(name, time.monotonic(), told=time.monotonic())
        self._running.append(step)
        try:
            yield step
        except BaseException:
            self._end(step, Text("failed ", style="bold red"))
            raise
        self._end(step, Text("ready  ", style="green"))

    def tell(self, step: Step, what: str) -> None:
        """Show what a step is doing, if it takes its time: beside it, or now and then as a line."""
        step.doing = what
        if not self._console.is_terminal and time.monotonic() - step.told >= TELL_SECONDS:
            step.told = time.monotonic()
            self._console.print(
                f"waits  {step.name:<16}{step.elapsed:>8}  {what}", soft_wrap=True, markup=False
            )

    def _end(self, step: Step, mark: Text) -> None:
        self._running.remove(step)
        line = mark.append(f"{step.name:<16}", style="default").append(f"{step.elapsed:>8}  ", style="dim")
        self._console.print(line.append(step.detail, style="default"), soft_wrap=True)

    def _spinners(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for step in self._running:
            table.add_row(Spinner("dots"), step.name, Text(step.elapsed, style="dim"), Text(step.doing))
        return table
