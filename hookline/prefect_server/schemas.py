"""JSON Schemas in Prefect's server under `up`: one that was found valid is not looked at again.

For each run that is created Prefect checks the schema of its pool's job variables twice and that of its
parameters once, against the schema of schemas. They are the same from run to run.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import orjson
from prefect.utilities.schema_tools import validation

#: Schemas that are remembered; those used last stay.
REMEMBERED = 1000


def remember_checked_schemas() -> None:
    """Check each schema once."""
    validator: Any = validation._VALIDATOR
    check = validator.check_schema
    valid: OrderedDict[bytes, None] = OrderedDict()

    def check_once(schema: Any, **options: Any) -> None:
        """Raise as `check` does for a schema that is not valid; those are never remembered."""
        try:
            key = orjson.dumps([schema, sorted(options)])
        except TypeError:  # not a document: nothing to remember it by
            check(schema, **options)
            return
        if key not in valid:
            check(schema, **options)
            valid[key] = None
            if len(valid) > REMEMBERED:
                valid.popitem(last=False)
        else:
            valid.move_to_end(key)

    validator.check_schema = check_once
