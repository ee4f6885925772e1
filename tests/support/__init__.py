"""Real servers and helpers that the tests start, use and stop."""
