"""A schema that Prefect's server found valid is not checked again; one that is not valid always is."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import json
from prefect.utilities.schema_tools import validation
from hookline.prefect_server.schemas import remember_checked_schemas
checks = []
check = validation._VALIDATOR.check_schema
def counted(schema, **options):
    checks.append(schema)
    check(schema, **options)
validation._VALIDATOR.check_schema = counted
remember_checked_schemas()
good, other, bad = {"type": "object"}, {"type": "array"}, {"type": "nonsense"}
for _ in range(3):
    validation.is_valid_schema(dict(good))
validation.is_valid_schema(other)
refused = 0
for _ in range(2):
    try:
        validation.is_valid_schema(bad)
    except ValueError:
        refused += 1
print(json.dumps([len(checks), refused]))
"""


def test_an_equal_schema_is_checked_once_and_an_invalid_one_is_refused_each_time() -> None:
    """Equal means equal in content; another schema is checked, and a refusal is not forgotten for speed."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [4, 2]
