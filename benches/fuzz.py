"""Thousands of generated requests against the served OpenAPI document: no 5xx, no undescribed answer."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.integration.test_fuzz import OPERATIONS


def main() -> int:
    """Run the suite's fuzz tests with many examples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=3000, help="requests, at least, over all operations")
    given = parser.parse_args()
    # Each operation gets requests that fit its description, and requests that do not.
    each = -(-given.examples // (2 * len(OPERATIONS)))
    print(f"{len(OPERATIONS)} operations, {each} requests that fit and {each} that do not for each")
    tests = ("tests/integration/test_fuzz.py", "tests/integration/test_gateway_parsed.py")
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "1800", *tests]
    environment = {**os.environ, "HOOKLINE_FUZZ_EXAMPLES": str(each)}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
