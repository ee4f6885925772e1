"""What a project's flows say about themselves. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """A flow's name, and the JSON Schema of its parameters."""

    name: str
    schema: Mapping[str, Any]

    @property
    def required(self) -> tuple[str, ...]:
        """Return the parameters without a default."""
        return tuple(self.schema.get("required") or ())

    @property
    def takes_event(self) -> bool:
        """Return whether the flow has a parameter `event`."""
        return "event" in (self.schema.get("properties") or {})
