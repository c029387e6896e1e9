"""Runs the revisions on the connection that `daemon.store.schema` hands over, inside its transaction."""

from alembic import context

from daemon.store.migrations.compare import options

context.configure(connection=context.config.attributes["connection"], **options())
context.run_migrations()
