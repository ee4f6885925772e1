"""Does once, in the zygote, what Prefect would otherwise do late in every flow run."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

from pydantic import BaseModel

#: Modules that a flow run imports on its way, found by what a child has that its zygote had not.
LATE_MODULES = (
    "anyio._backends._asyncio",
    "encodings.idna",
    "prefect.deployments.steps",
    "prefect.deployments.steps.pull",
    "prefect.utilities.visualization",
    "pydantic.v1",
    "rich._emoji_codes",
)


def warm_up() -> None:
    """Import what runs import late, and finish the models that Prefect leaves to their first use."""
    for module in LATE_MODULES:
        with contextlib.suppress(ImportError):  # Prefect may come to do without it
            importlib.import_module(module)
    for model in set(_models(BaseModel)):
        if model.__module__.startswith("prefect.") and not model.__pydantic_complete__:
            with contextlib.suppress(Exception):  # some are only ever bases and cannot be finished
                model.model_rebuild()


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
