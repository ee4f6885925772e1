"""Opens sealed data where a flow runs, after Prefect has followed the references that people wrote.

In force in every process that imports `hookline`, and in every process of a flow run where Hookline is
installed (`flow-runs.pth`), whatever worker started it. Imports nothing of Prefect: it waits for
Prefect to be imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

from hookline.current_run import current_run
from hookline.event import Event
from hookline.sealed import is_sealed, opened

#: The function inside `Flow.validate_parameters` by which Prefect follows a reference to a block.
_FOLLOW = "resolve_block_reference"

#: In the run that this code is part of, sealed data was opened: also where somebody started it in the UI with
#: the parameters of another run.
_has_opened: ContextVar[bool] = ContextVar("has_opened", default=False)


class _Opened:
    """Data that Prefect must not look into while it follows references."""

    def __init__(self, data: Any) -> None:
        self.data = data


def open_in_flows() -> None:
    """Change what Prefect does with the parameters of flows, now or when it is imported."""
    for name, change in _CHANGES.items():
        if name in sys.modules:
            change(sys.modules[name])
    sys.meta_path.insert(0, _Awaiting())


class _Awaiting(MetaPathFinder):
    """Changes modules of Prefect as they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what Python would have found, and have it changed once it is loaded."""
        if fullname not in _CHANGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_change(module: ModuleType) -> None:
                load(module)
                _CHANGES[fullname](module)

            spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


def _change_flows(flows: Any) -> None:
    """Let `Flow.validate_parameters` follow the references that people wrote, and no others."""
    code = flows.Flow.validate_parameters.__code__
    inner = {part.co_name for part in code.co_consts if isinstance(part, CodeType)}
    if _FOLLOW not in inner or "visit_collection" not in code.co_names:
        # An unknown Prefect is left as it is: what is sealed fails there, and is not guessed at.
        return
    from prefect.utilities.collections import StopVisiting, visit_collection

    def visit(expr: Any, visit_fn: Callable[[Any], Any], **options: Any) -> Any:
        if visit_fn.__name__ != _FOLLOW:
            return visit_collection(expr, visit_fn, **options)
        run = current_run()
        if run is not None and (run.cause.event is not None or _has_opened.get()):
            # A subflow, called in a run that got an event: what it is given may stem from the sender.
            return expr

        def follow(value: Any) -> Any:
            if isinstance(value, Event):
                raise StopVisiting
            return visit_fn(value)

        if not is_sealed(expr):
            return visit_collection(expr, follow, **options)
        _has_opened.set(True)
        return _revealed(visit_collection(opened(expr, _Opened), follow, **options))

    flows.visit_collection = visit


def _revealed(value: Any) -> Any:
    match value:
        case _Opened():
            return value.data
        case dict():
            return {key: _revealed(part) for key, part in value.items()}
        case list():
            return [_revealed(part) for part in value]
        case _:
            return value


def _change_flow_engine(engine: Any) -> None:
    """Open what is sealed for flows with `validate_parameters=False`, where Prefect follows no reference."""
    parameters_of: Callable[..., dict[str, Any]] = engine._flow_parameters

    def open_parameters(flow: Any, *args: Any, **options: Any) -> dict[str, Any]:
        parameters = parameters_of(flow, *args, **options)
        # What a subflow is given was opened before: what looks sealed in it, the sender wrote.
        if flow.should_validate_parameters or current_run() is not None or not is_sealed(parameters):
            return parameters
        _has_opened.set(True)
        return {name: opened(value) for name, value in parameters.items()}

    engine._flow_parameters = open_parameters


_CHANGES: dict[str, Callable[[Any], None]] = {
    "prefect.flows": _change_flows,
    "prefect.flow_engine": _change_flow_engine,
}
