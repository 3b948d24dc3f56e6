"""Where Alembic meets the program: it runs in the transaction it is handed."""

from __future__ import annotations

from alembic import context

from aipool.migrations.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # All steps and the number they lead to are one transaction, also on SQLite.
    transactional_ddl=True,
)
context.run_migrations()
