"""Thousands of generated requests against the served OpenAPI document, and of streams against h11."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.integration.test_fuzz import OPERATIONS


def main() -> int:
    """Run the suite's fuzz tests with many examples: no 5xx, nothing undescribed or misread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=3000, help="requests, at least, over all operations")
    given = parser.parse_args()
    # Each operation gets requests that fit its description, and requests that do not.
    each = -(-given.examples // (2 * len(OPERATIONS)))
    print(f"{len(OPERATIONS)} operations, {each} requests that fit and {each} that do not for each")
    names = ("test_fuzz", "test_gateway_parsed", "test_http_streams")
    tests = [f"tests/integration/{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "1800", *tests]
    examples = {"HOOKLINE_FUZZ_EXAMPLES": str(each), "HOOKLINE_STREAM_EXAMPLES": str(given.examples)}
    environment = {**os.environ, **examples}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
