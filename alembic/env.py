"""Alembic's entry: `smartstudy migrate` hands its connection over; `alembic` on its own opens one."""

from sqlalchemy import Connection, text

from alembic import context
from app.core.database import database_url, engine_for
from app.core.db import migrations
from app.models import Base


def run(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('smartstudy.migrate'))"))  # one replica at a time
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=False)
    if migrations.revision_of(connection) not in (None, context.get_revision_argument()):
        migrations.take_tables(connection)
    with context.begin_transaction():
        context.run_migrations()


handed: Connection | None = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    with engine_for(database_url()).begin() as own:
        run(own)
