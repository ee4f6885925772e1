"""Runs the migrations on the connection that `hookline.inbox.engine.migrate` hands over."""

from alembic import context

import hookline.lineage.schema  # noqa: F401 (adds the tables of lineage to the metadata)
from hookline.inbox.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
