"""Up and down with data loses nothing that both revisions have; old databases are opened; many may migrate at once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from alembic import command
from app.core.database import engine_for
from app.core.db import embedded_postgres, migrations
from tests.filled import TASKS, contents, fill
from tests.school import throw_away

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
FINISHED = TASKS * 4 // 5


def revisions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migrations._config(connection))
    return [each.revision for each in reversed(list(scripts.walk_revisions()))]


def go(engine: Engine, to: str, down: bool = False) -> None:
    with engine.begin() as connection:
        (command.downgrade if down else command.upgrade)(migrations._config(connection), to)


def rows(engine: Engine) -> Rows:
    with engine.connect() as connection:
        return contents(connection)


def nothing_lost(before: Rows, after: Rows) -> None:
    """In what both have: every row, every column."""
    for table in before.keys() & after.keys():
        both = before[table][0].keys() & after[table][0].keys() if before[table] and after[table] else set()
        assert kept(table, before[table], sorted(both)) == kept(table, after[table], sorted(both)), table


def kept(table: str, found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Totals per item are counted from the tasks in 0003 and go on the way down."""
    counted = [row for row in found if not (table == "student_totals" and row["scope"] == "item")]
    return sorted(json.dumps([row[column] for column in columns]) for row in counted)


@pytest.mark.slow
def test_ten_thousand_tasks_and_all_else_go_up_down_and_up_again(empty_database: str) -> None:
    engine = engine_for(empty_database)
    steps = revisions(engine)
    before: Rows = {}
    for step in steps:
        go(engine, step)
        nothing_lost(before, rows(engine))
        with engine.begin() as connection:
            fill(connection, step)
        before = rows(engine)
    assert [table for table, found in before.items() if not found] == []
    for ways in ([*reversed(steps[:-1])], steps[1:]):
        for step in ways:
            go(engine, step, down=ways[0] != steps[1])
            after = rows(engine)
            nothing_lost(before, after)
            before = after
    migrations.check(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT sum(n) FROM student_totals WHERE scope = 'all'")) == FINISHED
        assert connection.scalar(text("SELECT sum(n) FROM student_totals WHERE scope = 'item'")) == connection.scalar(
            text("SELECT count(*) FROM practice_tasks WHERE completed AND item_id IS NOT NULL")
        )
    engine.dispose()


def migrating(environment: Mapping[str, str], folder: Path, n: int = 4) -> list[tuple[int, str]]:
    """How so many replicas fare that migrate at the same moment."""
    run = [sys.executable, "-c", "from app.cli.main import app; app(['migrate'])"]
    replicas = [
        subprocess.Popen(run, env={**os.environ, **environment}, cwd=folder, stderr=subprocess.PIPE, text=True)
        for _ in range(n)
    ]
    return [(each.returncode, said) for each in replicas for _, said in [each.communicate(timeout=120)]]


@pytest.mark.parametrize("old", [None, "0001", "0004"])
def test_four_replicas_may_migrate_at_once(empty_database: str, tmp_path: Path, old: str | None) -> None:
    engine = engine_for(empty_database)
    before: Rows = {}
    if old:
        for step in (each for each in revisions(engine) if each <= old):
            go(engine, step)
            with engine.begin() as connection:
                fill(connection, step)
        before = rows(engine)
    found = migrating({"DATABASE_URL": empty_database, "DATA_DIR": str(tmp_path)}, tmp_path)
    assert found == [(0, "")] * 4
    migrations.check(engine)
    nothing_lost(before, rows(engine))
    engine.dispose()


@pytest.fixture
def old_data(tmp_path: Path) -> Iterator[Path]:
    """The data folder of an earlier release, with its embedded database at rest."""
    folder = tmp_path / "old"
    engine = engine_for(embedded_postgres.start(folder))
    for step in ("0001", "0002"):
        go(engine, step)
        with engine.begin() as connection:
            fill(connection, step)
    engine.dispose()
    embedded_postgres.stop(folder)
    yield folder
    throw_away(folder)


def test_the_data_folder_of_an_earlier_release_is_opened_by_many_at_once(old_data: Path, tmp_path: Path) -> None:
    environment = {"DATA_DIR": str(old_data), "MODEL_DIR": str(tmp_path / "models"), "DATABASE_URL": ""}
    run = [sys.executable, "-m", "app", "status", "--json"]
    all_at_once = [
        subprocess.Popen(run, env={**os.environ, **environment}, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for each in all_at_once:
        said, _ = each.communicate(timeout=120)
        assert each.returncode == 0
        assert json.loads(said)["counter"]["since_training"] == 7
    engine = engine_for(embedded_postgres.start(old_data))
    migrations.check(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM practice_tasks")) == TASKS
        assert connection.scalar(text("SELECT lineup FROM serving_changes")) == [17, 18]
    engine.dispose()


def test_a_topic_whose_accents_were_coded_in_two_ways_becomes_one(empty_database: str) -> None:
    engine = engine_for(empty_database)
    go(engine, "0010")
    composed, apart = "Alg\u00e8bre", "Alge\u0300bre"
    with engine.begin() as connection:
        for topic in (composed, apart):
            connection.execute(
                text("""INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct,
                                                    actual_time_seconds, completed_at)
                        VALUES ('00000000-0000-4000-8000-00000000000a', :topic, 'easy', true, true, 20, now())"""),
                {"topic": topic},
            )
        connection.execute(
            text("""INSERT INTO exam_plans (user_id, exam_date, topics, minutes_per_day, target_success_rate,
                                            chances_at_start)
                    VALUES (gen_random_uuid(), '2027-01-15', ARRAY[:topic, 'Waves'], 30, 0.8,
                            jsonb_build_object(CAST(:topic AS text), 0.4))"""),
            {"topic": apart},
        )
    go(engine, "0011")
    with engine.connect() as connection:
        totals = connection.execute(text("SELECT key, n FROM student_totals WHERE scope = 'topic'")).all()
        plan = connection.execute(text("SELECT topics, chances_at_start FROM exam_plans")).one()
    engine.dispose()
    assert totals == [(composed, 2)]
    assert plan == ([composed, "Waves"], {composed: 0.4})


SPELT = [  # topic, item: the earliest first
    ("Linear  Algebra", "Ex 1"),
    ("linear algebra", "ex 1"),
    ("LINEAR\u00a0ALGEBRA", "Ex 2"),
    ("Waves", None),
    ("waves", "EX 2"),
]
TOTALS = "SELECT scope, key, n, n_correct, microseconds FROM student_totals ORDER BY scope, key"
SPELT_TASK = """
    INSERT INTO practice_tasks (user_id, topic, item_id, difficulty, created_at, completed, is_correct,
                                actual_time_seconds, completed_at)
    SELECT CAST('00000000-0000-4000-8000-00000000000a' AS uuid), :topic, :item, 'easy', at, true, :n % 2 = 0, 20 + :n,
           at + interval '1 second'
    FROM (SELECT timestamptz '2026-01-01Z' + :n * interval '1 hour' AS at) AS moment"""
SPELT_PLAN = """
    INSERT INTO exam_plans (user_id, exam_date, topics, minutes_per_day, target_success_rate, chances_at_start)
    VALUES (gen_random_uuid(), '2027-01-15', ARRAY['waves', 'linear algebra', 'Waves', 'optics'], 30, 0.8,
            '{"waves": 0.4, "linear algebra": 0.5, "Waves": 0.6}')"""
SPELT_TOPICS = """
    INSERT INTO topics (name, state, decided_at)
    VALUES ('waves', 'hidden', '2026-03-01Z'), ('Waves', 'approved', '2026-02-01Z'),
        ('linear algebra', 'hidden', '2026-02-01Z'), ('LINEAR\u00a0ALGEBRA', 'approved', '2026-03-01Z')"""


def test_spellings_of_one_topic_or_exercise_become_one_with_all_that_hangs_on_them(empty_database: str) -> None:
    engine = engine_for(empty_database)
    go(engine, "0011")
    with engine.begin() as connection:
        for n, (topic, item) in enumerate(SPELT):
            connection.execute(text(SPELT_TASK), {"topic": topic, "item": item, "n": n})
        connection.execute(text(SPELT_PLAN))
        connection.execute(text(SPELT_TOPICS))
        connection.execute(
            text("INSERT INTO users (email, name, password_hash) VALUES ('a@example.com', :name, '')"),
            {"name": "A\u030ada  Love"},
        )
    go(engine, "0012")
    with engine.connect() as connection:
        totals = [tuple(row) for row in connection.execute(text(TOTALS))]
        plan = connection.execute(text("SELECT topics, chances_at_start FROM exam_plans")).one()
        decided = {row.name: row.state for row in connection.execute(text("SELECT name, state FROM topics"))}
        spelt = {tuple(row) for row in connection.execute(text("SELECT kind, folded, first, name FROM spellings"))}
        said = connection.execute(text("SELECT subject, details FROM audit_log WHERE act = 'topic merged'")).all()
        name = connection.scalar(text("SELECT name FROM users"))
    engine.dispose()
    assert totals == [
        ("all", "", 5, 3, 110_000_000),
        ("difficulty", "easy", 5, 3, 110_000_000),
        ("item", "Ex 1", 2, 1, 41_000_000),
        ("item", "Ex 2", 2, 2, 46_000_000),
        ("topic", "Linear Algebra", 3, 2, 63_000_000),
        ("topic", "Waves", 2, 1, 47_000_000),
    ]
    assert plan == (["Waves", "Linear Algebra", "optics"], {"Waves": 0.6, "Linear Algebra": 0.5})
    assert decided == {"Waves": "approved", "Linear Algebra": "approved"}
    assert spelt == {
        ("topic", "linear algebra", "Linear  Algebra", "Linear Algebra"),
        ("topic", "waves", "Waves", "Waves"),
        ("topic", "optics", "optics", "optics"),
        ("item", "ex 1", "Ex 1", "Ex 1"),
        ("item", "ex 2", "Ex 2", "Ex 2"),
    }
    assert {subject: details["into"] for subject, details in said} == {
        **dict.fromkeys(["Linear  Algebra", "linear algebra", "LINEAR\u00a0ALGEBRA"], "Linear Algebra"),
        "waves": "Waves",
    }
    assert name == "\u00c5da Love"
