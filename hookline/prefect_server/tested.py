"""The versions that the changes to Prefect's server were tested with."""

from __future__ import annotations

import prefect
import sqlalchemy

PREFECT = "3.8.8"
#: Its adapters and loaders are private to it; they have been the same in all of these.
SQLALCHEMY = "2.0."


def is_tested() -> bool:
    """Return whether these are those versions; any other is left as it is."""
    return prefect.__version__ == PREFECT and sqlalchemy.__version__.startswith(SQLALCHEMY)
