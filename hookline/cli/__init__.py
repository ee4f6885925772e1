"""The command line: one module a command group, loaded when its command is used."""

from hookline.cli.app import main

__all__ = ["main"]
