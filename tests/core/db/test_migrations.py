import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from app.core.database import engine_for
from app.core.db import migrations
from app.core.settings import APP
from app.models import Base


def test_the_tables_are_those_of_the_models(database_url: str) -> None:
    engine = engine_for(database_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_code_asks_for_the_newest_revision(database_url: str) -> None:
    engine = engine_for(database_url)
    with engine.connect() as connection:
        head = ScriptDirectory.from_config(migrations._config(connection)).get_current_head()
    engine.dispose()
    assert head == migrations.REVISION


def test_down_and_up_again(empty_database: str) -> None:
    from alembic import command

    engine = engine_for(empty_database)
    for _ in range(2):
        migrations.migrate(engine)
        migrations.check(engine)
        with engine.begin() as connection:
            command.downgrade(migrations._config(connection), "base")
        with pytest.raises(migrations.SchemaMismatch, match="smartstudy migrate"):
            migrations.check(engine)
    engine.dispose()


DEFINITIONS = """
    SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
    UNION ALL SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"""


def definitions(connection: Connection) -> dict[str, str]:
    """Functions and triggers of the database, by name; spaces don't count."""
    return {name: " ".join(sql.split()) for name, sql in connection.execute(text(DEFINITIONS))}


def test_functions_and_triggers_are_those_of_app_sql(database_url: str) -> None:
    files = {file.stem: file.read_text() for file in (APP / "sql").glob("*.sql")}
    engine = engine_for(database_url)
    with engine.connect() as connection:
        migrated = definitions(connection)
        for name in files:
            connection.execute(text(f"DROP FUNCTION {name} CASCADE"))  # and its triggers
        assert definitions(connection) == {}
        for sql in files.values():
            connection.execute(text(sql))
        assert definitions(connection) == migrated
    engine.dispose()


TASKS = """INSERT INTO practice_tasks (user_id, topic, difficulty, item_id, completed, is_correct, actual_time_seconds,
                                       completed_at)
           SELECT gen_random_uuid(), 'a', 'easy', item, true, true, 5, now()
           FROM (VALUES (NULL), ('i')) AS two (item)"""
TOTALS = "SELECT scope, sum(n), sum(n_correct), sum(microseconds) FROM student_totals GROUP BY scope ORDER BY scope"


def test_totals_are_kept_alike_before_and_after_the_fourth_revision(empty_database: str) -> None:
    from alembic import command

    engine = engine_for(empty_database)
    for round_, (step, to) in enumerate([(command.upgrade, "0004"), (command.downgrade, "0003")] * 2, 1):
        with engine.begin() as connection:
            step(migrations._config(connection), to)
            connection.execute(text(TASKS))
            found = [tuple(row) for row in connection.execute(text(TOTALS))]
        n = 2 * round_
        assert found == [
            *(("all", n, n, n * 5_000_000), ("difficulty", n, n, n * 5_000_000)),
            *(("item", round_, round_, round_ * 5_000_000), ("topic", n, n, n * 5_000_000)),
        ]
    engine.dispose()


def test_a_newer_database_is_refused_in_words(database_url: str) -> None:
    engine = engine_for(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refuse in (migrations.check, migrations.migrate, migrations.ensure_current):
        with pytest.raises(migrations.SchemaMismatch, match="newer than this code"):
            refuse(engine)
    engine.dispose()


def test_two_replicas_may_migrate_at_once(empty_database: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": empty_database, "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "from app.cli.main import app; app(['migrate'])"]
    replicas = [subprocess.Popen(command, env=environment, cwd=tmp_path) for _ in range(2)]
    assert [replica.wait(60) for replica in replicas] == [0, 0]
    engine = engine_for(empty_database)
    migrations.check(engine)
    engine.dispose()


def at_the_twelfth(engine: Engine) -> None:
    with engine.begin() as connection:
        migrations.upgrade(connection, "0012")


WAITING = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")


def test_who_is_in_the_middle_of_a_result_and_a_migration_do_not_end_each_other(empty_database: str) -> None:
    engine = engine_for(empty_database)
    at_the_twelfth(engine)
    with engine.connect() as somebody, ThreadPoolExecutor() as threads:
        somebody.execute(text("LOCK TABLE practice_tasks IN ROW EXCLUSIVE MODE"))
        migrating = threads.submit(migrations.migrate, engine)
        while not somebody.scalar(WAITING):
            assert not migrating.done()
        somebody.execute(text("LOCK TABLE student_totals IN ROW EXCLUSIVE MODE"))
        somebody.commit()
        migrating.result(60)
    migrations.check(engine)
    engine.dispose()


def test_a_migration_that_somebody_keeps_from_the_tables_says_so(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "WAIT_SECONDS", 0.5)
    engine = engine_for(empty_database)
    at_the_twelfth(engine)
    with engine.begin() as somebody:
        somebody.execute(text("LOCK TABLE users IN ACCESS SHARE MODE"))
        with pytest.raises(migrations.SchemaMismatch, match="smartstudy migrate"):
            migrations.migrate(engine)
    assert migrations.revision(engine) == "0012"
    engine.dispose()


def test_a_migration_with_nothing_to_do_waits_for_nobody(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "WAIT_SECONDS", 0.0)
    engine = engine_for(database_url)
    with engine.begin() as somebody:
        somebody.execute(text("LOCK TABLE users IN ROW EXCLUSIVE MODE"))
        migrations.migrate(engine)
    engine.dispose()


WRONG = [
    "INSERT INTO practice_tasks (user_id, topic, difficulty) VALUES (gen_random_uuid(), 'a', 'impossible')",
    "INSERT INTO practice_tasks (user_id, topic, difficulty, completed) VALUES (gen_random_uuid(), 'a', 'easy', true)",
    """INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct, actual_time_seconds, completed_at)
       VALUES (gen_random_uuid(), 'a', 'easy', true, true, 0, now())""",
    """INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct, actual_time_seconds, completed_at)
       VALUES (gen_random_uuid(), 'a', 'easy', true, true, 'NaN', now())""",
    """INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct, actual_time_seconds)
       VALUES (gen_random_uuid(), 'a', 'easy', true, true, 5)""",
    """INSERT INTO practice_tasks (user_id, topic, difficulty, correctness_prob, estimated_time_seconds)
       VALUES (gen_random_uuid(), 'a', 'easy', 0.5, 60)""",
    "INSERT INTO embedding_model_tracker (id) VALUES (2)",
]


@pytest.mark.parametrize("statement", WRONG)
def test_the_database_itself_refuses_nonsense(database_url: str, statement: str) -> None:
    import psycopg2

    connection = psycopg2.connect(database_url)
    with pytest.raises(psycopg2.errors.CheckViolation):
        connection.cursor().execute(statement)
    connection.close()
