"""The evaluator: a process of its own for evaluations that may take long or much memory, and can be ended.

What a user configured (conditions, keys, templates, schemas) is evaluated over data that a sender made.
Nearly all of it is provably cheap and stays where it is. The rest is asked here: an evaluation that exceeds
its processor time or memory is ended and is an evaluation error, and nothing else has to wait for it. The
first question starts the process; it stays for those that follow, and ends with this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, TypeVar

from hookline.errors import EvaluationError
from hookline.event import Event
from hookline.triggers.expressions import Answer, Answers, Costly, Question, Scope

T = TypeVar("T")

#: Processor time for one question. A mebibyte of the most costly JSON takes a third of it to be read.
SECONDS = 1.0
#: Memory for one question, beside what the process holds already.
MEMORY_BYTES = 512 * 1024 * 1024
#: An answer that is larger is of no use: Prefect takes parameters of 512 KB.
ANSWER_BYTES = 4 * 1024 * 1024
#: Processes for each kind of question: while one is busy, another trigger's questions are answered.
PROCESSES = 2
#: Whoever does not answer for so long, on however busy a machine, is not going to.
PATIENCE_SECONDS = 120.0

_LENGTH = struct.Struct("!Q")


class Evaluator:
    """One evaluating process, started with its first question and again where it has ended. Blocking.

    Parameters
    ----------
    kind: what it evaluates; see `hookline.evaluator_child`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, *question: Any) -> Any:
        """Return the answer to a question.

        Raises
        ------
        EvaluationError: what went wrong in evaluating it; it took too long, or too much memory.
        """
        asked = marshal.dumps(question)
        for is_last in (False, True):
            try:
                self._write(asked)
                succeeded, value = marshal.loads(self._read())  # noqa: S302 # written by our own process
                break
            except (OSError, EOFError) as failed:
                # It is not the question's fault that the process has ended as a whole.
                self.close()
                if is_last:
                    reason = f"the evaluator failed twice ({failed}); replay the event"
                    raise EvaluationError(reason) from None
        if succeeded:
            return value
        raise EvaluationError(value)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", "hookline.evaluator_child", self._kind),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                # Neither Ctrl-C nor a signal to the gateway's group ends it in the middle of an answer.
                start_new_session=True,
            )
        return self._process

    def _write(self, question: bytes) -> None:
        stream = self._running().stdin
        assert stream is not None, "it is a pipe"  # noqa: S101 # for types
        rest = memoryview(_LENGTH.pack(len(question)) + question)
        while rest:
            rest = rest[stream.write(rest) :]

    def _read(self) -> bytes:
        until = time.monotonic() + PATIENCE_SECONDS
        (length,) = _LENGTH.unpack(self._read_exactly(_LENGTH.size, until))
        return self._read_exactly(length, until)

    def _read_exactly(self, size: int, until: float) -> bytes:
        assert self._process is not None, "it was just asked"  # noqa: S101 # for types
        assert self._process.stdout is not None, "it is a pipe"  # noqa: S101 # for types
        read = bytearray()
        while len(read) < size:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            part = self._process.stdout.read(size - len(read)) if ready else b""
            if not part:
                raise EOFError("it ended" if ready else "it does not answer")
            read += part
        return bytes(read)


class Evaluators:
    """A few evaluators for one kind of question. Questions wait for them in the order in which they come.

    Whoever asks should have one question open at a time for each expression, so that a costly one makes
    nobody wait but itself.
    """

    def __init__(self, kind: str) -> None:
        self._threads = ThreadPoolExecutor(PROCESSES, thread_name_prefix=f"evaluate-{kind}")
        self._idle = [Evaluator(kind) for _ in range(PROCESSES)]
        self._free = threading.Semaphore(PROCESSES)

    async def warm_up(self) -> None:
        """Start an evaluating process, so that the first question need not wait until it has loaded."""
        with contextlib.suppress(EvaluationError):
            await self.in_thread(self.ask)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Return what comes of work that asks, done in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def ask(self, *question: Any) -> Any:
        """Return the answer to a question, as `Evaluator.ask`; blocks."""
        with self._free:
            # The one that was used last is warm.
            evaluator = self._idle.pop()
            try:
                return evaluator.ask(*question)
            finally:
                self._idle.append(evaluator)


@lru_cache
def evaluators(kind: str) -> Evaluators:
    """Return this process's evaluators for a kind of question: `expressions`, `templates` or `schemas`."""
    return Evaluators(kind)


async def with_answers(event: Event, work: Callable[[Scope], T]) -> T:
    """Return what pure work makes of an event; the evaluator is asked what is too costly to evaluate here."""
    answers: Answers = {}
    scope = Scope(event, answers)
    while True:
        await asyncio.sleep(0)  # many events in a row leave the others their turn
        try:
            return work(scope)
        except Costly as costly:
            ask = evaluators("expressions").in_thread
            answers[costly.question] = await ask(partial(_answer, costly.question, event))


def with_answers_now(event: Event, work: Callable[[Scope], T]) -> T:
    """Return what `with_answers` does; blocks."""
    answers: Answers = {}
    scope = Scope(event, answers)
    while True:
        try:
            return work(scope)
        except Costly as costly:
            answers[costly.question] = _answer(costly.question, event)


def _answer(question: Question, event: Event) -> Answer:
    try:
        return Answer(evaluators("expressions").ask(question.form.value, question.source, event.to_dict()))
    except EvaluationError as wrong:
        return Answer(fault=str(wrong))
