"""Hookline in six short lessons, each a file, each with real parts: read them in order."""
