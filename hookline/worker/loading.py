"""Loads the project's flows: ahead of need in the zygote, and for one run in a child."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.flows import Flow

    from hookline.worker.frames import Frame

_Print = tuple[int, int]
_STDLIB = sysconfig.get_path("stdlib")


@dataclass
class Preloaded:
    """What the zygote has of the project, and how its files were then.

    Parameters
    ----------
    directory: the folder that it was imported from.
    prints: the modification time and size of each file of the project that was imported.
    modules: the names of those modules.
    failures: the traceback of each module that could not be imported.
    threaded: modules that started a thread when they were imported, and so cannot be held by a zygote.
    """

    directory: str | None = None
    prints: dict[str, _Print] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    threaded: list[str] = field(default_factory=list)

    def is_fresh(self) -> bool:
        """Return whether no file has changed since."""
        return all(_print_of(path) == was for path, was in self.prints.items())

    def is_of(self, directory: str) -> bool:
        """Return whether it is what a run in that folder would import."""
        return self.directory is None or self.directory == directory

    def forget(self) -> None:
        """Forget the project's modules, so that they are imported anew."""
        for name in self.modules:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()


def preload(modules: Iterable[str], directory: str | None) -> Preloaded:
    """Import modules as a run in `directory` would.

    A module that fails is left alone: the run that needs it imports it again, and fails with the
    traceback in its own log.
    """
    before = set(sys.modules)
    preloaded = Preloaded(directory)
    if directory is not None:
        os.chdir(directory)
        sys.path.insert(0, directory)
    for module in modules:
        threads = threading.active_count()
        try:
            importlib.import_module(module)
        except BaseException:  # a module may do anything at import, even `sys.exit`
            preloaded.failures[module] = traceback.format_exc()
        if threading.active_count() > threads:
            preloaded.threaded.append(module)
    if directory is not None:
        sys.path.remove(directory)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None and _is_namespace_of(name, directory):
            preloaded.modules.append(name)
        elif file is not None and _is_project_file(file, directory):
            preloaded.modules.append(name)
            preloaded.prints[file] = _print_of(file)
    return preloaded


def load(
    flow_run: FlowRun, deployment: Frame | None, preloaded: Preloaded, stale: Callable[[], None]
) -> Flow[..., Any]:
    """Load a run's flow with Prefect's own loader, which runs the pull steps; its deployment is known.

    Parameters
    ----------
    flow_run: the run.
    deployment: its deployment, as Prefect has it.
    preloaded: what is imported already; it is used where it is what the run would import.
    stale: called when files have changed since.
    """
    flows: Any = importlib.import_module("prefect.flows")
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.utilities.asyncutils import run_coro_as_sync

    if deployment is None:
        raise ValueError("Flow run does not have an associated deployment")
    from_entrypoint, from_function = flows.load_flow_from_entrypoint, flows.load_function_and_convert_to_flow

    def load_here(entrypoint: str, use_placeholder_flow: bool = True) -> Flow[..., Any]:
        """Load from an entrypoint in what is the working directory after the pull steps."""
        here = str(Path.cwd())
        if not preloaded.is_of(here):
            preloaded.forget()
        elif not preloaded.is_fresh():
            preloaded.forget()
            stale()
        # What the flow imports while it runs must be found as well, so this stays.
        sys.path.insert(0, here)
        found: Flow[..., Any] = from_entrypoint(_importable(entrypoint), use_placeholder_flow)
        return found

    known = _Known(DeploymentResponse.model_validate(deployment))
    load_with: Any = flows.load_flow_from_flow_run.__wrapped__
    flows.load_flow_from_entrypoint = load_here
    flows.load_function_and_convert_to_flow = lambda entrypoint: from_function(_importable(entrypoint))
    try:
        flow: Flow[..., Any] = run_coro_as_sync(load_with(known, flow_run, use_placeholder_flow=False))
    finally:
        flows.load_flow_from_entrypoint, flows.load_function_and_convert_to_flow = (
            from_entrypoint,
            from_function,
        )
    return flow


def importable_name(path: str) -> str | None:
    """Return the dotted name under which a file, given by its relative path, can be imported."""
    relative = Path(path)
    if relative.is_absolute() or relative.suffix != ".py":
        return None
    parts = relative.with_suffix("").parts
    return ".".join(parts) if all(part.isidentifier() for part in parts) else None


class _Known:
    """As much of a client as Prefect's loader uses, with the deployment known already."""

    def __init__(self, deployment: DeploymentResponse) -> None:
        self._deployment = deployment

    async def read_deployment(self, deployment_id: UUID) -> DeploymentResponse:
        return self._deployment

    async def read_block_document(self, block_document_id: UUID) -> Any:
        from prefect.client.orchestration import get_client

        async with get_client() as client:
            return await client.read_block_document(block_document_id)


def _importable(entrypoint: str) -> str:
    """Return an entrypoint that leaves the names of other modules alone.

    Prefect registers a file `flows/stripe.py` as the module `stripe`, and puts its folder before all
    others, so that the package `stripe` cannot be imported any more. As `flows.stripe` it can; a file
    that has no such name is loaded under one of its own.
    """
    path, _, name = entrypoint.rpartition(":")
    if not path.endswith(".py"):
        return entrypoint
    file = Path(path).resolve()
    module = importable_name(path)
    if module is not None and _origin_of(module) == str(file):
        return f"{module}:{name}"
    return f"{_load_script(file)}:{name}"


def _origin_of(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return str(Path(spec.origin).resolve()) if spec is not None and spec.origin else None


def _load_script(file: Path) -> str:
    from prefect.exceptions import ScriptError

    name = f"__flow_{hashlib.sha1(str(file).encode(), usedforsecurity=False).hexdigest()[:16]}__"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"The provided path does not point to a python file: {str(file)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(file.parent))  # for its siblings, after everything else
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ScriptError(user_exc=error, path=str(file)) from error
    return name


def _is_project_file(file: str, directory: str | None) -> bool:
    path = Path(file)
    if "site-packages" in path.parts or "dist-packages" in path.parts or path.is_relative_to(_STDLIB):
        return False
    return directory is None or path.is_relative_to(directory)


def _is_namespace_of(name: str, directory: str | None) -> bool:
    where = getattr(sys.modules[name], "__path__", None)
    return directory is not None and any(Path(part).is_relative_to(directory) for part in where or ())


def _print_of(path: str) -> _Print:
    try:
        status = Path(path).stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
