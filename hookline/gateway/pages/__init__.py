"""The pages: what happened and why, for people with a browser; rendered here, with no build step."""

from hookline.gateway.pages.routes import refuse, with_pages

__all__ = ["refuse", "with_pages"]
