"""What strangers sent, in Prefect's parameters: the same at the other end, and nothing of it is followed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextvars import copy_context
from copy import deepcopy
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prefect import flow, flow_engine
from prefect.blocks.core import Block
from prefect.exceptions import ParameterTypeError
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate
from pydantic import BaseModel, Field

from hookline import opening
from hookline.current_run import Run
from hookline.event import Cause, Event
from hookline.sealed import is_sealed, opened, seal
from hookline.testing import make_event

BLOCK = "5ba2b4a0-0c55-4e0c-9c7c-1d6f5a0d9f11"

KEYS = st.sampled_from(
    [
        "$ref",
        "__prefect_kind",
        "hookline_data",
        "value",
        "template",
        "variable_name",
        "block_document_id",
        "a",
    ]
) | st.text(max_size=3)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        [
            BLOCK,
            "workspace_variable",
            "jinja",
            "json",
            "none",
            "told",
            "{{ 1 + 1 }}",
            "{{ prefect.blocks.secret.told }}",
            "{{ prefect.variables.told }}",
            '{"$ref": {"block_document_slug": "secret/told"}}',
        ]
    )
)
DATA = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
ORDINARY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
MARKED = {"a": [{"$ref": {"hookline_data": "1", "note": ""}}], "b": {"__prefect_kind": "json"}}


@pytest.fixture(autouse=True, scope="module")
def _followed() -> Any:
    """Let a reference that Prefect follows be seen, without a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "load_from_ref", lambda reference, **_: f"block {reference}")
        yield


@flow
def untyped(data) -> Any:  # type: ignore[no-untyped-def]
    return data


@flow
def takes_event(event: Event) -> Any:
    return event.data


@flow(validate_parameters=False)
def unchecked(data: Any) -> Any:
    return data


class Order(BaseModel):
    reference: Any = Field(alias="$ref")


@flow
def typed(order: Order, texts: list[str], table: dict[str, Any], block: Any = None) -> None:
    pass


@given(data=DATA)
@example(data=MARKED)
@example(data=seal(MARKED))
@settings(max_examples=100, deadline=None)
def test_sealed_data_opens_as_the_same_data(data: Any) -> None:
    """Whatever it holds: markers of Prefect's, our own sealed form, templates, in keys and in values."""
    before = deepcopy(data)
    assert opened(seal(data)) == before
    assert data == before


@given(data=ORDINARY)
def test_ordinary_data_stays_readable(data: Any) -> None:
    """What Prefect passes on as it is can be read in its UI as it is."""
    assert seal(data) is data
    assert not is_sealed(data)


@given(data=DATA)
@example(data=MARKED)
@settings(max_examples=100, deadline=None)
def test_prefects_server_fills_in_nothing(data: Any) -> None:
    """Its hydration, with variables and templates switched on as when a run is created, finds nothing."""
    context = HydrationContext(
        workspace_variables={"told": "hidden"},
        render_workspace_variables=True, render_jinja=True, raise_on_error=True,
    )  # fmt: skip
    sealed = {"data": seal(data)}
    assert hydrate(deepcopy(sealed), context) == sealed


@given(data=DATA)
@example(data=MARKED)
@settings(max_examples=100, deadline=None)
def test_prefects_validation_follows_nothing_that_is_sealed(data: Any) -> None:
    """An untyped parameter, the event, and a flow without validation get the same data."""
    event = make_event("order.paid", data)
    document = {**event.to_dict(), "data": seal(data)}
    assert untyped.validate_parameters({"data": seal(data)}) == {"data": data}
    assert untyped.validate_parameters({"data": [{"in": seal(data)}]}) == {"data": [{"in": data}]}
    assert takes_event.validate_parameters({"event": document})["event"] == event


def test_models_are_made_of_what_was_sent() -> None:
    """A field may even be named as Prefect names a reference; the author's own reference is followed."""
    data = {"$ref": {"block_document_id": BLOCK}}
    given = typed.validate_parameters(
        {
            "order": seal(data),
            "texts": ["{{ x }}", "a\x00"],
            "table": {"x": seal(data)},
            "block": {"$ref": BLOCK},
        }
    )
    assert given == {
        "order": Order.model_validate(data), "texts": ["{{ x }}", "a\x00"], "table": {"x": data},
        "block": f"block {BLOCK}",
    }  # fmt: skip


def test_an_event_is_never_looked_into() -> None:
    """Handed to a flow as an object, its data is still the sender's."""
    event = make_event("order.paid", {"x": {"$ref": BLOCK}})
    assert takes_event.validate_parameters({"event": event})["event"] is event


@flow
def hands_on(data: Any) -> Any:
    return untyped.validate_parameters({"data": {"copied": dict(data), "own": {"$ref": BLOCK}}})["data"]


def test_what_was_opened_is_not_followed_in_what_the_flow_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no event started the run: somebody gave it the parameters of another, in the Prefect UI.

    In any other run a flow may hand references to its subflows, as Prefect has it.
    """
    a_run = Run(Cause(flow_run="1"), None, None)  # type: ignore[arg-type]

    def call(given: Any) -> Any:
        """Call the flow as Prefect's engine does: validated outside of its context, run within."""
        opening._has_opened.set(False)  # in a context of this call alone
        monkeypatch.setattr(opening, "current_run", lambda: None)
        parameters = hands_on.validate_parameters({"data": given})
        monkeypatch.setattr(opening, "current_run", lambda: a_run)
        return hands_on.fn(**parameters)

    reference = {"$ref": BLOCK}
    assert copy_context().run(call, seal(reference)) == {"copied": reference, "own": reference}
    assert copy_context().run(call, {"a": 1}) == {"copied": {"a": 1}, "own": f"block {BLOCK}"}


def test_a_flow_without_validation_opens_what_it_is_started_with_and_nothing_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What looks sealed in what a subflow is given is the sender's; what was opened is not followed there."""
    a_run = Run(Cause(flow_run="1"), None, None)  # type: ignore[arg-type]
    data = {"looks sealed": seal({"$ref": BLOCK}), "reference": {"$ref": BLOCK}}

    def call() -> None:
        opening._has_opened.set(False)  # in a context of this call alone
        monkeypatch.setattr(opening, "current_run", lambda: None)
        given = flow_engine._flow_parameters(unchecked, None, {"data": seal(data)})
        assert given == {"data": data}
        monkeypatch.setattr(opening, "current_run", lambda: a_run)
        assert flow_engine._flow_parameters(unchecked, None, given) == given
        assert untyped.validate_parameters({"data": dict(data)}) == given

    copy_context().run(call)


def test_what_was_broken_on_the_way_is_an_error() -> None:
    """Somebody changed a parameter by hand: the run fails, and says that its parameters are why."""
    with pytest.raises(ParameterTypeError):
        untyped.validate_parameters({"data": {"$ref": {"hookline_data": "{"}}})


UNOPENED = """
import sys
from prefect import flow, flow_engine

@flow
def told(data):
    pass

try:
    print(told.validate_parameters({"data": %r}))
except Exception as failed:
    print(type(failed).__name__, failed.__cause__)
print("hookline" in sys.modules)
"""


def run(program: str, **env: str) -> str:
    """Run a program in an interpreter of its own."""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", **env},
    )  # fmt: skip
    return found.stdout


def test_where_nobody_opens_it_prefect_refuses_to_follow_it() -> None:
    """No Hookline where the flow runs: the flow does not start, and the reason says what to do."""
    out = run(UNOPENED % seal({"$ref": BLOCK}))
    assert "ParameterTypeError Invalid reference format" in out
    assert "install it there" in out
    assert out.endswith("False\n")


def test_a_process_of_a_flow_run_opens_it_by_itself() -> None:
    """The flow imports nothing of Hookline, and whatever worker started the process knows nothing of it."""
    assert importlib.util.find_spec("hookline") is not None
    out = run(UNOPENED % seal({"$ref": BLOCK}), PREFECT__FLOW_RUN_ID=str(UUID(int=1)))
    assert out == f"{{'data': {{'$ref': '{BLOCK}'}}}}\nTrue\n", "run scripts/setup: hookline-flow-runs.pth"


def test_an_unknown_prefect_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, sealed data fails instead of being guessed at."""

    class Flows:
        Flow = type("Flow", (), {"validate_parameters": lambda self, parameters: parameters})

    opening._change_flows(Flows)
    assert not hasattr(Flows, "visit_collection")
