"""Reusable, retryable tasks, one file for each system they touch."""
