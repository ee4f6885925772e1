"""The evaluator: what may take long is evaluated in a process of its own, and is ended there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hookline.errors import EvaluationError
from hookline.evaluator import Evaluator, evaluators, with_answers, with_answers_now
from hookline.event import Event, new_id
from hookline.planning import plan
from hookline.triggers import Concurrency, Costly, Delay, Scope, Trigger, TriggerSet
from hookline.triggers.expressions import Form
from tests.support.waiting import eventually

MOMENT = datetime(2026, 11, 24, 3, 0, 0, 123456, tzinfo=UTC)
#: The two conditions that once stood still for 15 and 20 s.
HOSTILE = [
    ("data.a.all(x, !data.a.exists(y, y == x + 1000000))", {"a": list(range(4_990))}),
    ("size(data.a.map(x, data.a.filter(y, y != x))) > 0", {"a": list(range(700))}),
]
#: Not provably cheap for its event, and done in no time.
LARGE = {"a": list(range(20_000)), "text": "ünï", "big": 2**62, "small": -0.5, "no": None}


def an_event(data: Any) -> Event:
    return Event(id=new_id(), type="a", source="s", subject="x", time=MOMENT, accepted=MOMENT, data=data)


def a_trigger(where: str, **more: Any) -> Trigger:
    return replace(Trigger(flow="f", deployment="d", name="n", expect=("a",), where=where), **more)


@pytest.mark.parametrize(("source", "data"), HOSTILE)
def test_what_takes_too_long_is_an_evaluation_error_that_says_how_to_mend_it(source: str, data: Any) -> None:
    """It is ended by its processor time, and seen on the event as any condition that cannot be evaluated."""
    event, triggers = an_event(data), TriggerSet(1, [a_trigger(source)])
    with pytest.raises(Costly):
        plan(event, triggers)
    [made] = with_answers_now(event, lambda scope: plan(event, triggers, scope)).dispatches
    assert made.filtered is not None
    assert made.filtered.startswith("where: it takes more than 1 s of processor time for this event")
    assert "no loop inside a loop" in made.filtered


def test_nothing_is_evaluated_twice_for_an_event_that_asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of costly triggers would else have the loop evaluate the cheap ones hundreds of times."""
    evaluated: list[str] = []
    evaluate = Scope.evaluate

    def counted(scope: Scope, source: str) -> Any:
        evaluated.append(source)
        return evaluate(scope, source)

    monkeypatch.setattr(Scope, "evaluate", counted)
    cheap = ["subject == 'x'", "subject == 'y'", "subject.missing == 1"]
    event = an_event(LARGE)
    triggers = TriggerSet(
        1, [a_trigger(where, name=where) for where in (*cheap, *(f"size(data.a) > {n}" for n in range(3)))]
    )
    made = with_answers_now(event, lambda scope: plan(event, triggers, scope)).dispatches
    assert [each.filtered is None for each in made] == [True, False, False, True, True, True]
    assert evaluated == cheap


def test_what_takes_too_much_memory_is_an_evaluation_error() -> None:
    """The process that ends is not the gateway's."""
    source = f"[{','.join(['data.s + data.s'] * 150)}].size() > 1"
    with pytest.raises(EvaluationError, match="more than 512 MiB of memory"):
        evaluators("expressions").ask("truth", source, an_event({"s": "x" * 4_000_000}).to_dict())


def test_the_next_question_is_answered_after_one_was_ended() -> None:
    """A fork takes its place; nothing is loaded again."""
    evaluator = Evaluator("expressions")
    hostile, data = HOSTILE[0]
    try:
        with pytest.raises(EvaluationError, match="processor time"):
            evaluator.ask("truth", hostile, an_event(data).to_dict())
        began = time.monotonic()
        assert evaluator.ask("key", "data.x", an_event({"x": 17}).to_dict()) == "17"
        assert time.monotonic() - began < 5
    finally:
        evaluator.close()


def test_an_evaluator_that_was_killed_is_started_again() -> None:
    """Whoever ended it, the question is not lost."""
    evaluator = Evaluator("expressions")
    try:
        assert evaluator.ask("key", "data.x", an_event({"x": 1}).to_dict()) == "1"
        process = evaluator._process
        assert process is not None
        process.kill()
        process.wait()
        assert evaluator.ask("key", "data.x", an_event({"x": 2}).to_dict()) == "2"
    finally:
        evaluator.close()


def test_a_fork_that_somebody_killed_takes_its_process_with_it() -> None:
    """It may have just answered: whoever asks next would get the answer to another question."""
    evaluator = Evaluator("expressions")
    try:
        for number in ("1", "2"):
            assert evaluator.ask("key", "data.x", an_event({"x": int(number)}).to_dict()) == number
            process = evaluator._process
            assert process is not None
            [fork] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(fork), signal.SIGKILL)
            assert process.wait(timeout=10) == 1
    finally:
        evaluator.close()


ASK_AND_DIE = """
import os, signal, threading
from hookline.evaluator import Evaluator
evaluator = Evaluator("expressions")
moment = "2026-11-24T03:00:00Z"
event = {"id": "1", "type": "a", "source": "s", "time": moment, "accepted": moment}
evaluator.ask("key", "id", event)
print(evaluator._process.pid, flush=True)
hostile = ("truth", SOURCE, {**event, "data": {"a": list(range(4990))}})
threading.Thread(target=evaluator.ask, args=hostile, daemon=True).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_evaluator_ends_with_its_gateway(capfd: pytest.CaptureFixture[str]) -> None:
    """Even where that was killed in the middle of a question."""
    code = ASK_AND_DIE.replace("SOURCE", repr(HOSTILE[0][0]))
    asking = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid = int(asking.stdout)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the evaluator ends")
    assert (asking.stderr, capfd.readouterr().err) == ("", "")


@pytest.mark.parametrize(
    ("form", "source"),
    [
        (Form.TRUTH, "size(data.a) > 3"),
        (Form.TRUTH, "data.a.exists(x, x == -1)"),
        (Form.TRUTH, "data.text"),
        (Form.TRUTH, "data.missing == 1"),
        (Form.TRUTH, "time == accepted && time < timestamp('2026-11-24T03:00:00.2Z') && subject == 'x'"),
        (Form.KEY, "string(size(data.a)) + data.text"),
        (Form.KEY, "[data.small, data.no, time]"),
        (Form.KEY, "event.id"),
        (Form.TIME, "time + duration('1h')"),
        (Form.TIME, "data.text"),
    ],
)
def test_the_evaluator_says_what_is_said_here(form: Form, source: str) -> None:
    """Matching is the same wherever it is done: the same value, or the same fault in the same words."""
    event = an_event(LARGE)

    def here() -> Any:
        return Scope(event, bounded=False).ask(form, source)

    def there() -> Any:
        return evaluators("expressions").ask(form.value, source, event.to_dict())

    assert _outcome(there) == _outcome(here)


def _outcome(evaluate: Any) -> Any:
    try:
        return evaluate()
    except EvaluationError as wrong:
        return f"fault: {wrong}"


def test_conditions_keys_and_times_are_all_asked_for() -> None:
    """One plan, whichever parts of it are costly."""
    data = {**LARGE, "due": "2026-12-24T00:00:00Z", "key": "k"}
    trigger = a_trigger(
        "size(data.a) > 3", concurrency=Concurrency(1, "data.key"), delay=Delay(until="data.due")
    )
    event, triggers = an_event(data), TriggerSet(1, [trigger])
    [made] = with_answers_now(event, lambda scope: plan(event, triggers, scope)).dispatches
    assert (made.filtered, made.dead, made.concurrency_key) == (None, None, "k")
    assert made.due == datetime(2026, 12, 24, tzinfo=UTC)


async def test_the_loop_goes_on_while_something_costly_is_evaluated() -> None:
    """The longest time that the loop stands still is nowhere near that of the evaluation."""
    source, data = HOSTILE[0]
    event, triggers = an_event(data), TriggerSet(1, [a_trigger(source)])
    stalls: list[float] = []

    async def watch() -> None:
        while True:
            since = time.thread_time()
            await asyncio.sleep(0.001)
            stalls.append(time.thread_time() - since)

    watching = asyncio.create_task(watch())
    await with_answers(event, lambda scope: plan(event, triggers, scope))
    watching.cancel()
    assert len(stalls) > 50
    assert max(stalls) < 0.05
