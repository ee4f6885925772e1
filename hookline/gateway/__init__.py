"""The gateway: the front door and the pages behind it."""

from hookline.gateway.app import create_app
from hookline.gateway.house import House
from hookline.gateway.server import run, serve

__all__ = ["House", "create_app", "run", "serve"]
