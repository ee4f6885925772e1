"""The evaluating process: `python -m hookline.evaluator_child expressions|templates|schemas`.

It loads what it needs once, then lets a fork of itself answer questions from standard input, one at a time,
each within its processor time and memory. What exceeds them is ended by the operating system, wherever it is;
the next fork goes on, and takes some milliseconds to be there.
"""

from __future__ import annotations

import gc
import marshal
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hookline.errors import EvaluationError
from hookline.evaluator import ANSWER_BYTES, MEMORY_BYTES, SECONDS

_LENGTH = struct.Struct("!Q")

#: The signals that end a fork for what it does; any other is somebody else's.
_BY_ITSELF = (signal.SIGPROF, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)

TOO_LONG = (
    f"it takes more than {SECONDS:g} s of processor time for this event, so it was given up; make it simpler"
    " (no loop inside a loop, no `filter` or `map` over long lists), or let less be sent"
)
TOO_MUCH_MEMORY = (
    f"it takes more than {MEMORY_BYTES >> 20} MiB of memory for this event, so it was given up; make it build"
    " less from what the sender wrote, or let less be sent"
)


def main(kind: str) -> None:
    """Answer questions of a kind until standard input ends."""
    answers = os.dup(1)
    # Nothing that a library prints may mix with the answers.
    os.dup2(2, 1)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    answer = _load(kind)
    gc.freeze()
    busy = mmap.mmap(-1, 1)
    while True:
        child = os.fork()
        if child == 0:
            _serve(answer, answers, busy)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in _BY_ITSELF:
            # Somebody killed it, perhaps in the middle of a question or right after its answer. Whoever asks
            # has to begin anew, or would be given the answer to the question before, from then on.
            raise SystemExit(1)
        if busy[0]:
            busy[0] = 0
            _write(answers, (False, _why(status)))


def _load(kind: str) -> Callable[..., Any]:
    """Return what answers the questions of a kind; what it imports is paid for once, not by each fork."""
    match kind:
        case "expressions":
            from hookline.event import Event
            from hookline.triggers.expressions import Form, Scope

            return lambda form, source, event: Scope(Event.from_dict(event), bounded=False).ask(
                Form(form), source
            )
        case "templates":
            return _of_templates()
        case "schemas":
            from hookline.sources.schema import find_fault

            return find_fault
        case _:
            raise SystemExit(f"no kind of question: {kind}")


def _of_templates() -> Callable[..., Any]:
    from hookline.event import Event
    from hookline.parameter_schema import hold_to_schema
    from hookline.triggers.rendering import render_parameters
    from hookline.triggers.trigger import Trigger

    def answer(wanted: str, *given: Any) -> Any:
        if wanted == "schema":
            return hold_to_schema(*given)
        trigger, event = given
        return render_parameters(Trigger.from_dict(trigger), Event.from_dict(event))

    return answer


def _serve(answer: Callable[..., Any], answers: int, busy: mmap.mmap) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory()
    while (head := _read(_LENGTH.size)) is not None:
        question = _read(*_LENGTH.unpack(head))
        if question is None:
            return
        busy[0] = 1
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        said = _say(answer, question)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, said)
        busy[0] = 0


def _say(answer: Callable[..., Any], question: bytes) -> tuple[bool, Any]:
    try:
        value = answer(*marshal.loads(question))  # noqa: S302 # written by the gateway
        size = len(marshal.dumps(value))
    except EvaluationError as wrong:
        # Prefect puts what went wrong in a template into words.
        return False, TOO_MUCH_MEMORY if "MemoryError()" in str(wrong) else str(wrong)
    except MemoryError:
        return False, TOO_MUCH_MEMORY
    except BaseException as wrong:
        # A library's panic is no `Exception`.
        return False, f"{type(wrong).__name__}: {str(wrong)[:200]}"
    if size > ANSWER_BYTES:
        return False, f"it makes {size} bytes of this event, and at most {ANSWER_BYTES} can be used"
    return True, value


def _why(status: int) -> str:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    match number:
        case signal.SIGPROF:
            return TOO_LONG
        case signal.SIGABRT | signal.SIGSEGV | signal.SIGBUS:
            # A library that gets no memory ends its process, or goes where there is none.
            return TOO_MUCH_MEMORY
        case _:
            return f"the evaluator ended with {os.waitstatus_to_exitcode(status)}"


def _limit_memory() -> None:
    """Let this process take so much more memory than it has."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return  # not Linux; the processor time is limited all the same
    size = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _read(size: int) -> bytes | None:
    read = bytearray()
    while len(read) < size:
        part = os.read(0, min(size - len(read), 1 << 20))
        if not part:
            return None
        read += part
    return bytes(read)


def _write(answers: int, said: tuple[bool, Any]) -> None:
    written = marshal.dumps(said)
    rest = memoryview(_LENGTH.pack(len(written)) + written)
    try:
        while rest:
            rest = rest[os.write(answers, rest) :]
    except BrokenPipeError:
        os._exit(0)  # whoever asked is gone


if __name__ == "__main__":
    os.nice(5)  # what must be done now goes first
    main(sys.argv[1])
